#include "engine/layers/convolution.h"

#include <algorithm>
#include <vector>

namespace runnel::engine {
namespace {

constexpr int kRows = 64;    // of a block of float sums
constexpr int kPanels = 16;  // of it; even
constexpr std::size_t kSums = std::size_t(kRows) * kPanels * kPanel;

int padded(int inputs) { return (inputs + 31) / 32 * 32; }

/// A finish of the whole product, for its rows and panels from here on.
TapFinish from(const TapFinish& finish, int row, int panel) noexcept {
  TapFinish f = finish;
  const int column = panel * kPanel;
  const int result = f.kind == TapFinish::Kind::kGlu ? column / 2 : column;
  if (f.gain) f.gain += column;
  if (f.bias) f.bias += column;
  f.cols -= result;
  if (f.residual) {
    f.residual = static_cast<const std::byte*>(f.residual) +
                 (row * f.residual_stride + result) * (f.residual_is_bf16 ? 2 : 4);
  }
  if (f.y) f.y += row * f.y_stride + result;
  if (f.y_bf16) f.y_bf16 += row * f.y_bf16_stride + result;
  return f;
}

void multiply_floats(Executor& executor, int thread, const TapProduct& p) noexcept {
  float* sums = executor.scratch<float>(thread, kSums);
  const auto* x = static_cast<const float*>(p.x);
  for (int panel = 0; panel < p.panels; panel += kPanels) {
    const int panels = std::min(kPanels, p.panels - panel);
    const auto* w = reinterpret_cast<const float*>(p.w + panel * p.panel_bytes);
    const std::ptrdiff_t stride = panels * kPanel;
    for (int row = 0; row < p.rows; row += kRows) {
      const int rows = std::min(kRows, p.rows - row);
      for (int tap = p.tap_begin; tap < p.tap_end; ++tap) {
        executor.matrix.many_f32(x + row * p.x_stride + tap * p.tap_stride, p.x_stride, rows,
                                 p.inputs, w + std::ptrdiff_t(tap) * p.tap_inputs * kPanel,
                                 p.panel_bytes / std::ptrdiff_t(sizeof(float)), panels, sums,
                                 stride, tap > p.tap_begin);
      }
      TapFinish f = from(p.finish, row, panel);
      const int most = f.kind == TapFinish::Kind::kGlu ? panels * kPanel / 2 : panels * kPanel;
      f.cols = std::min(f.cols, most);
      executor.taps.finish(sums, stride, rows, f);
    }
  }
}

}  // namespace

bool convolves_bf16(const Executor& executor, Precision precision) {
  return executor.amx && precision == Precision::kBFloat16;
}

Convolution::Convolution(int outputs, int taps, int inputs, bool gated, bool bf16,
                         const std::function<void(int, int, std::span<float>)>& read,
                         std::span<const float> outputs_bias)
    : outputs(outputs), taps(taps), inputs(inputs), gated(gated) {
  const int half = outputs / 2;
  const int columns = gated ? (half + kPanel - 1) / kPanel * 2 * kPanel : outputs;
  std::vector<int> output_of(std::size_t(columns), -1);
  for (int o = 0; o < outputs; ++o) output_of[std::size_t(column(o))] = o;
  const int width = padded(inputs);
  const auto read_row = [&](int column, std::span<float> row) {
    std::fill(row.begin(), row.end(), 0.0f);
    const int output = output_of[std::size_t(column)];
    for (int tap = 0; tap < taps && output >= 0; ++tap) {
      read(output, tap, row.subspan(std::size_t(tap) * std::size_t(width), std::size_t(inputs)));
    }
  };
  weight = PackedMatrix(columns, taps * width, bf16 ? Precision::kBFloat16 : Precision::kFloat32,
                        MemoryUsage::kBalanced, read_row);
  bias = outputs_bias.empty() ? AlignedVector<float>(std::size_t(this->columns()), 0.0f)
                              : columns_of(outputs_bias);
}

int Convolution::column(int output) const noexcept {
  if (!gated) return output;
  const int half = outputs / 2, channel = output % half;
  return channel / kPanel * 2 * kPanel + channel % kPanel + (output >= half ? kPanel : 0);
}

AlignedVector<float> Convolution::columns_of(std::span<const float> values) const {
  AlignedVector<float> out(std::size_t(columns()), 0.0f);
  for (int o = 0; o < outputs; ++o) out[std::size_t(column(o))] = values[std::size_t(o)];
  return out;
}

TapProduct Convolution::product(const void* x, std::ptrdiff_t x_stride, std::ptrdiff_t tap_stride,
                                int rows) const noexcept {
  return {.x = x,
          .bf16 = weight.precision() == Precision::kBFloat16,
          .x_stride = x_stride,
          .tap_stride = tap_stride,
          .tap_begin = 0,
          .tap_end = taps,
          .inputs = inputs,
          .tap_inputs = padded(inputs),
          .w = weight.panel(0),
          .panel_bytes = std::ptrdiff_t(weight.steps()) * 64,
          .panels = weight.panels(),
          .rows = rows,
          .finish = {.bias = bias.data(), .cols = cols()}};
}

ScratchNeed convolution_scratch() {
  return ScratchNeed::of<float>(kSums) | ScratchNeed::of<std::byte>(kTileScratch);
}

void multiply(Executor& executor, int thread, const TapProduct& product) noexcept {
  if (product.bf16) {
    return executor.amx->multiply_taps(product, executor.scratch<std::byte>(thread, kTileScratch));
  }
  multiply_floats(executor, thread, product);
}

}  // namespace runnel::engine
