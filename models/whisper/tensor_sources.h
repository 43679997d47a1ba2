// Where a checkpoint's tensors come from.
#pragma once

#include <map>
#include <string>

#include "engine/ggml_checkpoint.h"
#include "engine/weights.h"
#include "models/whisper/checkpoint.h"

namespace runnel::models::whisper {

class SafetensorsSource final : public TensorSource {
 public:
  explicit SafetensorsSource(engine::Weights weights);

  bool contains(std::string_view tensor) const override;
  void expect(std::string_view tensor, const engine::Shape& shape) const override;
  void read(std::string_view tensor, std::int64_t first, std::span<float> out) const override;
  void done(std::string_view tensor) const override;

 private:
  std::string_view name_of(std::string_view tensor) const;

  engine::Weights weights_;
  bool prefixed_;  // "model.encoder…", as the public files; saved without its head: "encoder…"
};

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

/// Made up: each value follows from the names of model and tensor and from its place. Matrices are
/// uniform with variance 1 / inputs, so that activations keep their scale; norms are 1 and 0; the
/// encoder's positions are Whisper's sinusoids.
class RandomSource final : public TensorSource {
 public:
  /// `model` is the seed.
  RandomSource(std::string model, const Config& config);

  bool contains(std::string_view tensor) const override;
  void expect(std::string_view tensor, const engine::Shape& shape) const override;
  void read(std::string_view tensor, std::int64_t first, std::span<float> out) const override;

 private:
  const engine::Shape& shape_of(std::string_view tensor) const;

  std::string model_;
  std::map<std::string, engine::Shape, std::less<>> shapes_;
};

}  // namespace runnel::models::whisper
