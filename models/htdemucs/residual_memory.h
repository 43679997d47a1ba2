// Where the rows of a layer are while its residual branches run.
#pragma once

#include <cstddef>
#include <span>

#include "engine/page_buffer.h"
#include "models/htdemucs/config.h"
#include "models/htdemucs/residual_branch.h"

namespace runnel::models::htdemucs {

/// Room for the rows of any of a branch's layers, one at a time.
class ResidualMemory {
 public:
  /// rows[i]: of layer i.
  ResidualMemory(const Config& config, std::span<const int> rows, bool bf16);

  /// `rows` rows of layer `layer`, with zeros in front and behind as far as its branches see.
  ResidualRows rows_of(int layer, int rows) noexcept;
  std::size_t bytes() const noexcept { return x_.size() + hidden_.size() + activated_.size(); }

 private:
  Config config_;
  bool bf16_;
  engine::PageBuffer x_, hidden_;
  engine::PageBuffer activated_;  // bfloat16 only: floats take the place of `hidden`
};

}  // namespace runnel::models::htdemucs
