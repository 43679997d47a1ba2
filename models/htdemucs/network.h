// HTDemucs: a segment of the mix in, a segment of every stem out.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "engine/compute.h"
#include "engine/view.h"
#include "models/htdemucs/checkpoint.h"
#include "models/segment_model.h"

namespace runnel::models::htdemucs {

/// How long the parts of a segment took, in ms.
struct SegmentTimes {
  static constexpr int kMostLayers = 8;
  double analysis = 0, transformer = 0, synthesis = 0;
  std::array<double, kMostLayers> spectral_encoder{}, temporal_encoder{};
  std::array<double, kMostLayers> spectral_decoder{}, temporal_decoder{};
};

/// A bag of networks on one workspace and one set of threads. Weights are packed and everything is
/// allocated by the constructor.
class Network final : public SegmentModel {
 public:
  /// `samples` of a segment; 0: what the checkpoint was trained with, the most there may be.
  /// `compute.encoder` is the precision: float32 or bfloat16. Throws std::runtime_error naming a
  /// missing or misshapen tensor, std::invalid_argument for another precision or length.
  Network(const Bag& bag, const engine::ComputeConfig& compute, int samples = 0);
  ~Network() override;

  const std::vector<std::string>& stems() const noexcept override;
  int channels() const noexcept override;
  int rate_hz() const noexcept override;
  int samples() const noexcept override;
  engine::ThreadPool* pool() const noexcept override;
  /// Of a bag, models whose weight is 0 for every wanted stem aren't run.
  void run(MatrixView<const float> mix, StemSet wanted, MatrixView<float> out) noexcept override;

  const std::string& label() const noexcept;
  bool random_weights() const noexcept;
  int threads() const noexcept;
  std::size_t weight_bytes() const noexcept;
  std::size_t scratch_bytes() const noexcept;
  /// Of the last run (of a bag: its last model).
  const SegmentTimes& last_times() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace runnel::models::htdemucs
