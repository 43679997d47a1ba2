// A weight matrix laid out once, at load, for the kernels that read it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "engine/aligned_vector.h"
#include "engine/compute.h"
#include "engine/page_buffer.h"

namespace runnel::engine {

/// Outputs of a panel: a 512-bit register of floats, an AMX tile's columns.
inline constexpr int kPanel = 16;

/// Consecutive inputs that lie together: what fills a register's 4-byte lane.
constexpr int group_of(Precision precision) {
  return precision == Precision::kFloat32 ? 1 : precision == Precision::kInt8 ? 4 : 2;
}

/// W [outputs, inputs] as panels of kPanel outputs, one after the other. A panel is a run of
/// 64-byte steps over the inputs; a step holds, for each of the 16 outputs, `group` consecutive
/// inputs:
///
///   [panels][steps][16 outputs][group]   group: 1 (float32), 2 (bfloat16, float16), 4 (int8)
///
/// So every kernel streams a panel from front to back, whatever the precision; 16 steps are an AMX
/// tile. Inputs are padded with zeros to whole tiles (16 steps), outputs to whole panels. int8 rows
/// have a scale each: w = scale · q, q in [−127, 127]. A narrower format is another group.
class PackedMatrix {
 public:
  PackedMatrix() = default;
  /// `read_row(o, row)` fills row [inputs] of output o; called once an output, in order.
  PackedMatrix(int outputs, int inputs, Precision precision, MemoryUsage memory,
               const std::function<void(int, std::span<float>)>& read_row);

  int outputs() const noexcept { return outputs_; }
  int inputs() const noexcept { return inputs_; }
  Precision precision() const noexcept { return precision_; }
  int panels() const noexcept { return (outputs_ + kPanel - 1) / kPanel; }
  /// 64-byte steps of a panel, a multiple of 16.
  int steps() const noexcept { return steps_; }
  /// inputs() with their padding: steps · group.
  int padded_inputs() const noexcept { return steps_ * group_of(precision_); }
  const std::byte* panel(int p) const noexcept {
    return data_.data() + std::size_t(p) * std::size_t(steps_) * 64;
  }
  /// int8 only: [panels · 16], 0 in the padding.
  const float* scales() const noexcept { return scales_.data(); }
  /// int8 only: Σ q of each output [panels · 16].
  const std::int32_t* sums() const noexcept { return sums_.data(); }
  std::size_t bytes() const noexcept;

  /// Row `output` as float, e.g. a token's embedding. row: [inputs].
  void read_row(int output, float* row) const noexcept;

 private:
  int outputs_ = 0;
  int inputs_ = 0;
  Precision precision_ = Precision::kFloat32;
  int steps_ = 0;
  PageBuffer data_;
  AlignedVector<float> scales_;
  AlignedVector<std::int32_t> sums_;
};

}  // namespace runnel::engine
