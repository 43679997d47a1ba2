// Tensors of whisper.cpp's files under Hugging Face's names.
#pragma once

#include <utility>

#include "engine/ggml_checkpoint.h"
#include "models/tensor_source.h"

namespace runnel::models::whisper {

class GgmlSource final : public TensorSource {
 public:
  explicit GgmlSource(engine::GgmlCheckpoint checkpoint) : checkpoint_(std::move(checkpoint)) {}

  bool contains(std::string_view tensor) const override;
  void expect(std::string_view tensor, const engine::Shape& shape) const override;
  void read(std::string_view tensor, std::int64_t first, std::span<float> out) const override;
  void done(std::string_view tensor) const override;

 private:
  engine::GgmlCheckpoint checkpoint_;
};

}  // namespace runnel::models::whisper
