// Tensors of whisper.cpp's, OpenAI's and CTranslate2's files under Hugging Face's names.
#pragma once

#include <memory>
#include <utility>

#include "engine/ctranslate2_checkpoint.h"
#include "engine/ggml_checkpoint.h"
#include "engine/weights.h"
#include "models/safetensors_source.h"
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

/// A .pt file of openai-whisper.
class OpenAiSource final : public TensorSource {
 public:
  explicit OpenAiSource(engine::Weights weights)
      : tensors_(std::move(weights), "encoder.conv1.weight") {}

  bool contains(std::string_view tensor) const override;
  void expect(std::string_view tensor, const engine::Shape& shape) const override;
  void read(std::string_view tensor, std::int64_t first, std::span<float> out) const override;
  void done(std::string_view tensor) const override;

 private:
  SafetensorsSource tensors_;
};

/// A model.bin of CTranslate2, where projections with the same input are one tensor.
class CTranslate2Source final : public TensorSource {
 public:
  explicit CTranslate2Source(engine::CTranslate2Checkpoint checkpoint)
      : checkpoint_(std::move(checkpoint)) {}

  bool contains(std::string_view tensor) const override;
  void expect(std::string_view tensor, const engine::Shape& shape) const override;
  void read(std::string_view tensor, std::int64_t first, std::span<float> out) const override;
  void done(std::string_view tensor) const override;

 private:
  engine::CTranslate2Checkpoint checkpoint_;
};

/// A fine-tune with tokens behind the timestamps: of their embeddings, the last rows, nothing is
/// read.
class FewerTokens final : public TensorSource {
 public:
  FewerTokens(std::unique_ptr<const TensorSource> tensors, int tokens_in_file)
      : tensors_(std::move(tensors)), tokens_in_file_(tokens_in_file) {}

  bool contains(std::string_view tensor) const override { return tensors_->contains(tensor); }
  void expect(std::string_view tensor, const engine::Shape& shape) const override;
  void read(std::string_view tensor, std::int64_t first, std::span<float> out) const override {
    tensors_->read(tensor, first, out);
  }
  void done(std::string_view tensor) const override { tensors_->done(tensor); }

 private:
  const std::unique_ptr<const TensorSource> tensors_;
  const int tokens_in_file_;
};

}  // namespace runnel::models::whisper
