// Segments shorter than a model's, filled up with zeros.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/segment_model.h"

namespace runnel::models {

/// What demucs makes of `--segment` (htdemucs.py, use_train_segment): the model hears its full
/// length, the given samples and then zeros. It costs what a full segment costs.
class PaddedSegment final : public SegmentModel {
 public:
  /// Throws std::invalid_argument unless 0 < samples ≤ model->samples().
  PaddedSegment(std::shared_ptr<SegmentModel> model, int samples);

  const std::vector<std::string>& stems() const noexcept override { return model_->stems(); }
  int channels() const noexcept override { return model_->channels(); }
  int rate_hz() const noexcept override { return model_->rate_hz(); }
  int samples() const noexcept override { return samples_; }
  engine::ThreadPool* pool() const noexcept override { return model_->pool(); }
  void run(MatrixView<const float> mix, StemSet wanted, MatrixView<float> out) noexcept override;

 private:
  const std::shared_ptr<SegmentModel> model_;
  const int samples_;
  std::vector<float> mix_;  // [channels, model's samples]; zeros behind samples_
  std::vector<float> out_;  // [stems · channels, model's samples]
};

}  // namespace runnel::models
