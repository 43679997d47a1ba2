// Convolutions, transposed ones too, over channels-last rows, as products of rows where they lie:
// nothing is gathered first (no im2col). See engine/kernels/taps.h.
#pragma once

#include <cstddef>
#include <functional>
#include <span>

#include "engine/aligned_vector.h"
#include "engine/executor.h"
#include "engine/packed_matrix.h"

namespace runnel::engine {

/// The type of the rows that convolutions read: bfloat16 on tiles, else float.
bool convolves_bf16(const Executor& executor, Precision precision);

/// Values of rows, float or bfloat16, that start at `data`; places are counted in values.
struct Operand {
  std::byte* data = nullptr;
  bool bf16 = false;

  std::byte* at(std::ptrdiff_t value) const noexcept { return data + value * size(); }
  std::ptrdiff_t size() const noexcept { return bf16 ? 2 : 4; }  // bytes of a value
};

/// Weights [outputs, taps, inputs] and a bias, laid out for the kernels. `gated`: the outputs are
/// values and then as many gates, for a gated linear unit; panels of both alternate, so that a
/// tile's neighbour holds its gates.
struct Convolution {
  Convolution() = default;
  /// `read(output, tap, row)` fills row [inputs]. bias: [outputs], or empty.
  Convolution(int outputs, int taps, int inputs, bool gated, bool bf16,
              const std::function<void(int output, int tap, std::span<float> row)>& read,
              std::span<const float> bias);

  /// In the order of columns: [outputs] → [columns()], 0 in the padding.
  AlignedVector<float> columns_of(std::span<const float> outputs) const;
  int columns() const noexcept { return weight.panels() * kPanel; }
  /// Column of an output.
  int column(int output) const noexcept;
  /// Columns of the result: outputs, or half of them.
  int cols() const noexcept { return gated ? outputs / 2 : outputs; }
  std::size_t bytes() const noexcept { return weight.bytes() + bias.size() * sizeof(float); }

  /// All taps of rows at `x`, with the bias; what is missing is for the caller to fill in.
  TapProduct product(const void* x, std::ptrdiff_t x_stride, std::ptrdiff_t tap_stride,
                     int rows) const noexcept;

  int outputs = 0, taps = 0, inputs = 0;
  bool gated = false;
  PackedMatrix weight;        // [columns, taps · padded inputs]
  AlignedVector<float> bias;  // [columns]
};

/// Runs a product on the calling task's thread.
void multiply(Executor& executor, int thread, const TapProduct& product) noexcept;

/// What `multiply` needs.
ScratchNeed convolution_scratch();

}  // namespace runnel::engine
