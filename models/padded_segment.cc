#include "models/padded_segment.h"

#include <algorithm>
#include <stdexcept>

namespace runnel::models {

PaddedSegment::PaddedSegment(std::shared_ptr<SegmentModel> model, int samples)
    : model_(std::move(model)),
      samples_(samples),
      mix_(std::size_t(model_->channels()) * std::size_t(model_->samples()), 0.0f),
      out_(mix_.size() * model_->stems().size()) {
  if (samples <= 0 || samples > model_->samples()) {
    throw std::invalid_argument("segment: expected 1 to " + std::to_string(model_->samples()) +
                                " samples, found " + std::to_string(samples));
  }
}

void PaddedSegment::run(MatrixView<const float> mix, StemSet wanted,
                        MatrixView<float> out) noexcept {
  const int full = model_->samples();
  for (int c = 0; c < mix.rows; ++c) {
    std::copy_n(mix.row(c).data(), samples_, mix_.data() + std::ptrdiff_t(c) * full);
  }
  model_->run({mix_.data(), mix.rows, full, full}, wanted, {out_.data(), out.rows, full, full});
  for (int row = 0; row < out.rows; ++row) {
    if ((wanted >> (row / mix.rows) & 1) == 0) continue;
    std::copy_n(out_.data() + std::ptrdiff_t(row) * full, samples_, out.row(row).data());
  }
}

}  // namespace runnel::models
