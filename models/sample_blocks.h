// A stream, cleaned and cut into the blocks that a speech detector takes.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>

#include "engine/clean_samples.h"
#include "models/vad.h"

namespace runnel::models {

/// Blocks of SpeechDetector::kBlock samples, whatever the chunks that they come in, cleaned
/// (engine/clean_samples.h): both models' live transcribers get their audio from here.
class SampleBlocks {
 public:
  /// Calls on_block(std::span<const float>) for each block that is whole.
  template <class OnBlock>
  void push(std::span<const float> samples, const OnBlock& on_block) {
    while (!samples.empty()) {
      const std::size_t n = std::min(samples.size(), block_.size() - fill_);
      copy_clean(samples.data(), std::int64_t(n), block_.data() + fill_);
      fill_ += n;
      samples = samples.subspan(n);
      if (fill_ < block_.size()) return;
      on_block(std::span<const float>(block_));
      fill_ = 0;
    }
  }
  /// The same for the last block, which is shorter, if there is one.
  template <class OnBlock>
  void flush(const OnBlock& on_block) {
    if (fill_ > 0) on_block(std::span<const float>(block_).first(fill_));
    fill_ = 0;
  }
  void clear() noexcept { fill_ = 0; }
  /// Samples that wait for their block to become whole.
  std::size_t waiting() const noexcept { return fill_; }

 private:
  std::array<float, SpeechDetector::kBlock> block_{};
  std::size_t fill_ = 0;
};

}  // namespace runnel::models
