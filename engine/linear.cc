#include "engine/linear.h"

#include <algorithm>
#include <cassert>
#include <cstdint>

namespace runnel::engine {
namespace {

constexpr int kRowsPerTask = 16;  // of normalisation and packing
constexpr int kManyRows = 256;    // rows of a float task: their block stays in the L2 cache
constexpr int kManyPanels = 2;    // panels widened at a time
constexpr std::size_t kStripBlock = 768 << 10;  // bytes of strips that stay in the L2 cache
constexpr int kLongProduct = 64;                // tiles of inputs; more go in parts of about
constexpr int kProductPart = 48;                // so many, or a pair of panels leaves the cache
constexpr std::size_t kFewBytes = 1 << 16;      // weights of a task with few rows
constexpr std::size_t kManySums = kManyRows * kManyPanels * kPanel;

/// Inputs as the widest of the packed formats has them.
std::size_t padded(int inputs) { return std::size_t(inputs + 63) / 64 * 64; }

const float* bias_at(const Linear& layer, int column) noexcept {
  return layer.bias.empty() ? nullptr : layer.bias.data() + column;
}

Epilogue epilogue_at(const Linear& layer, const Then& then, int row, int column) noexcept {
  return {.bias = bias_at(layer, column),
          .activation = then.activation,
          .residual = then.residual.data ? then.residual.data + row * then.residual.stride + column
                                         : nullptr,
          .residual_stride = then.residual.stride};
}

/// Runs `fill(first, count, thread)` over blocks of rows.
template <class Fill>
void over_rows(Executor& executor, int rows, const Fill& fill) noexcept {
  const int tasks = (rows + kRowsPerTask - 1) / kRowsPerTask;
  executor.pool.run(tasks, [&](int task, int thread) {
    const int first = task * kRowsPerTask;
    fill(first, std::min(kRowsPerTask, rows - first), thread);
  });
}

void pack_strips(Executor& executor, MatrixView<const float> x, const LayerNorm* norm,
                 Activations& out) noexcept {
  const float* gamma = norm ? norm->gamma.data() : nullptr;
  const float* beta = norm ? norm->beta.data() : nullptr;
  const float epsilon = norm ? norm->epsilon : 0.0f;
  over_rows(executor, x.rows, [&](int first, int count, int thread) {
    if (out.format() == Activations::Format::kInt8Strips) {
      executor.amx->pack_int8(x.data, x.stride, first, count, x.cols, gamma, beta, epsilon,
                              out.strips(), out.k_tiles(), out.scales(),
                              executor.scratch<float>(thread, padded(x.cols)));
    } else {
      executor.amx->pack_bf16(x.data, x.stride, first, count, x.cols, gamma, beta, epsilon,
                              out.strips(), out.k_tiles());
    }
  });
}

/// Where row `first` of strips begins.
template <class Byte>
Byte* strips_at(Byte* strips, int k_tiles, int first) noexcept {
  return strips + std::ptrdiff_t(first / 16) * k_tiles * 1024;
}

struct StripOutput {
  TileProduct::Output type;
  void* data;
  std::ptrdiff_t stride;
};

/// Products on strips, tiled so that a block of strips stays in the cache while panels stream by.
/// Tiles [k_begin, k_end) of the inputs.
void multiply_strips(Executor& executor, const Linear& layer, const Activations& x, int rows,
                     int k_begin, int k_end, const Then& then, const StripOutput& y) noexcept {
  const PackedMatrix& w = layer.weight;
  const bool int8 = x.format() == Activations::Format::kInt8Strips;
  const int strips = (rows + 31) / 32 * 2;
  const std::size_t strip_bytes = std::size_t(k_end - k_begin) * 1024;
  const int block = std::clamp(int(kStripBlock / strip_bytes) / 2 * 2, 4, strips);
  const int blocks = (strips + block - 1) / block;
  // A few rows take no time to multiply: a task then has panels to read for some microseconds.
  const int group = rows > 16 ? 2 : std::max(4, w.panels() / (4 * executor.pool.threads()) / 4 * 4);
  const int groups = (w.panels() + group - 1) / group;
  const auto multiply_group = [&](int task, int thread) {
    const int first_strip = task / groups * block;
    const int panel = task % groups * group;
    const int column = panel * kPanel;
    TileProduct product{.a = x.strips(),
                        .a_scales = int8 ? x.scales() : nullptr,
                        .first_strip = first_strip,
                        .strips = std::min(block, strips - first_strip),
                        .k_tiles = x.k_tiles(),
                        .k_begin = k_begin,
                        .k_end = k_end,
                        .one_way = then.steady,
                        .b = w.panel(panel),
                        .b_scales = int8 ? w.scales() + column : nullptr,
                        .panels = std::min(group, w.panels() - panel),
                        .rows = rows,
                        .cols = std::min(group * kPanel, w.outputs() - column),
                        .epilogue = epilogue_at(layer, then, 0, column),
                        .output = y.type,
                        .y = y.data,
                        .y_stride = y.stride,
                        .y_first_tile = column / 32};
    if (k_begin > 0) product.epilogue.bias = nullptr;
    if (y.type == TileProduct::Output::kFloat) {
      product.y = static_cast<float*>(y.data) + column;
    }
    executor.amx->product(product, executor.scratch<std::byte>(thread, kTileScratch));
  };
  if (rows > 16) {
    executor.pool.run(blocks * groups, multiply_group);
  } else {
    executor.pool.run_in_stretches(groups, multiply_group);
  }
}

void multiply_strips(Executor& executor, const Linear& layer, const Activations& x, int rows,
                     const Then& then, const StripOutput& y) noexcept {
  assert(
      layer.weight.precision() ==
      (x.format() == Activations::Format::kInt8Strips ? Precision::kInt8 : Precision::kBFloat16));
  assert(layer.weight.inputs() == x.cols());
  const int tiles = x.k_tiles();
  // Up to 32 rows are one block, which needs no parts; so a row among them keeps its bits.
  const bool in_parts = !then.steady && rows > 32 && tiles > kLongProduct &&
                        y.type == TileProduct::Output::kFloat &&
                        then.activation == Activation::kNone;
  const int parts = in_parts ? (tiles + kProductPart - 1) / kProductPart : 1;
  Then next = then;
  for (int part = 0; part < parts; ++part) {
    multiply_strips(executor, layer, x, rows, tiles * part / parts, tiles * (part + 1) / parts,
                    next, y);
    next.residual = {static_cast<const float*>(y.data), rows, layer.weight.outputs(), y.stride};
  }
}

/// A block of rows on one thread: all panels, whose next ones the kernel fetches ahead.
void multiply_block(Executor& executor, const Linear& layer, const RowBlock& block,
                    const Then& then, const StripOutput& y) noexcept {
  const Activations& x = block.x;
  const PackedMatrix& w = layer.weight;
  assert(x.format() == Activations::Format::kBFloat16Strips && block.first % 32 == 0);
  assert(w.precision() == Precision::kBFloat16 && w.inputs() == x.cols());
  const TileProduct product{.a = strips_at(x.strips(), x.k_tiles(), block.first),
                            .strips = (block.rows + 31) / 32 * 2,
                            .k_tiles = x.k_tiles(),
                            .k_end = x.k_tiles(),
                            .b = w.panel(0),
                            .panels = w.panels(),
                            .rows = block.rows,
                            .cols = w.outputs(),
                            .epilogue = epilogue_at(layer, then, 0, 0),
                            .output = y.type,
                            .y = y.data,
                            .y_stride = y.stride};
  executor.amx->product(product, executor.scratch<std::byte>(block.thread, kTileScratch));
}

/// One to kFewRows rows: bound by reading the weights once.
void multiply_few(Executor& executor, const Linear& layer, const Activations& x, int first_row,
                  int rows, MatrixView<float> y, const Then& then) noexcept {
  const PackedMatrix& w = layer.weight;
  const MatrixView<const float> in = x.floats(first_row + rows);
  const float* from = in.data + first_row * in.stride;
  QuantizedRows quantized;
  if (w.precision() == Precision::kInt8) {
    std::byte* data = x.converted();
    float* scales = reinterpret_cast<float*>(data + std::size_t(rows) * 2 * w.padded_inputs());
    executor.matrix.quantize(from, in.stride, rows, w.padded_inputs(), data, scales);
    quantized = {data, scales};
  }
  const std::size_t panel_bytes = std::size_t(w.steps()) * 64;
  const int group = std::clamp(int(kFewBytes / panel_bytes), 1,
                               std::max(1, w.panels() / (4 * executor.pool.threads())));
  const int tasks = (w.panels() + group - 1) / group;
  executor.pool.run_in_stretches(tasks, [&](int task, int thread) {
    const int panel = task * group;
    const int panels = std::min(group, w.panels() - panel);
    const int column = panel * kPanel;
    const std::ptrdiff_t stride = panels * kPanel;
    float* sums = executor.scratch<float>(thread, std::size_t(rows * stride));
    switch (w.precision()) {
      case Precision::kFloat32:
        executor.matrix.few_f32(from, in.stride, rows, w.steps(), w.panel(panel), panels, sums,
                                stride);
        break;
      case Precision::kBFloat16:
        executor.matrix.few_bf16(from, in.stride, rows, w.steps(), w.panel(panel), panels, sums,
                                 stride);
        break;
      case Precision::kFloat16:
        executor.matrix.few_f16(from, in.stride, rows, w.steps(), w.panel(panel), panels, sums,
                                stride);
        break;
      case Precision::kInt8:
        executor.matrix.few_int8(quantized, rows, w.steps(), w.panel(panel), w.scales() + column,
                                 w.sums() + column, panels, sums, stride);
        break;
    }
    const int cols = std::min(panels * kPanel, w.outputs() - column);
    executor.rows.finish(sums, stride, rows, cols, epilogue_at(layer, then, first_row, column),
                         y.data + first_row * y.stride + column, y.stride);
  });
}

/// Many float rows: panels are widened to float a few at a time.
void multiply_many(Executor& executor, const Linear& layer, const Activations& x,
                   MatrixView<float> y, const Then& then) noexcept {
  const PackedMatrix& w = layer.weight;
  const MatrixView<const float> in = x.floats(y.rows);
  const int columns = (w.panels() + kManyPanels - 1) / kManyPanels;
  const int blocks = (y.rows + kManyRows - 1) / kManyRows;
  executor.pool.run(columns * blocks, [&](int task, int thread) {
    const int first_row = task / columns * kManyRows;
    const int rows = std::min(kManyRows, y.rows - first_row);
    const int panel = task % columns * kManyPanels;
    const int panels = std::min(kManyPanels, w.panels() - panel);
    const int column = panel * kPanel;
    const std::ptrdiff_t stride = kManyPanels * kPanel;
    const std::ptrdiff_t wide_panel = std::ptrdiff_t(w.padded_inputs()) * kPanel;
    float* sums =
        executor.scratch<float>(thread, kManySums + kManyPanels * std::size_t(wide_panel));
    float* widened = sums + kManySums;
    const float* from = in.data + first_row * in.stride;
    if (w.precision() == Precision::kFloat32) {
      executor.matrix.many_f32(from, in.stride, rows, w.inputs(),
                               reinterpret_cast<const float*>(w.panel(panel)), wide_panel, panels,
                               sums, stride, false);
    } else {
      for (int p = 0; p < panels; ++p) {
        float* to = widened + p * wide_panel;
        if (w.precision() == Precision::kBFloat16) {
          executor.matrix.widen_bf16(w.panel(panel + p), w.steps(), to);
        } else if (w.precision() == Precision::kFloat16) {
          executor.matrix.widen_f16(w.panel(panel + p), w.steps(), to);
        } else {
          executor.matrix.widen_int8(w.panel(panel + p), w.steps(),
                                     w.scales() + column + p * kPanel, to);
        }
      }
      executor.matrix.many_f32(from, in.stride, rows, w.inputs(), widened, wide_panel, panels, sums,
                               stride, false);
    }
    const int cols = std::min(panels * kPanel, w.outputs() - column);
    executor.rows.finish(sums, stride, rows, cols, epilogue_at(layer, then, first_row, column),
                         y.data + first_row * y.stride + column, y.stride);
  });
}

}  // namespace

void normalize(Executor& executor, const LayerNorm& norm, MatrixView<const float> x,
               Activations& out) noexcept {
  if (out.format() != Activations::Format::kFloat) return pack_strips(executor, x, &norm, out);
  const MatrixView<float> to = out.floats(x.rows);
  const auto rows = [&](int first, int count, int) {
    for (int r = first; r < first + count; ++r) {
      executor.rows.layer_norm(x.data + r * x.stride, norm.gamma.data(), norm.beta.data(),
                               norm.epsilon, x.cols, to.data + r * to.stride);
    }
  };
  over_rows(executor, x.rows, rows);
}

void pack(Executor& executor, MatrixView<const float> x, Activations& out) noexcept {
  if (out.format() != Activations::Format::kFloat) return pack_strips(executor, x, nullptr, out);
  const MatrixView<float> to = out.floats(x.rows);
  over_rows(executor, x.rows, [&](int first, int count, int) {
    for (int r = first; r < first + count; ++r) {
      std::copy_n(x.data + r * x.stride, x.cols, to.data + r * to.stride);
    }
  });
}

void multiply(Executor& executor, const Linear& layer, const Activations& x, MatrixView<float> y,
              const Then& then) noexcept {
  assert(layer.weight.inputs() == x.cols() && layer.weight.outputs() <= y.cols);
  if (x.format() != Activations::Format::kFloat) {
    multiply_strips(executor, layer, x, y.rows, then,
                    {TileProduct::Output::kFloat, y.data, y.stride});
  } else if (y.rows > kFewRows) {
    multiply_many(executor, layer, x, y, then);
  } else {
    multiply_few(executor, layer, x, 0, y.rows, y, then);
  }
}

void multiply(Executor& executor, const Linear& layer, const Activations& x, int rows,
              Activations& y, const Then& then) noexcept {
  if (y.format() == Activations::Format::kFloat) {
    return multiply(executor, layer, x, y.floats(rows), then);
  }
  if (y.format() == Activations::Format::kBFloat16Strips) {
    return multiply_strips(executor, layer, x, rows, then,
                           {TileProduct::Output::kStrips, y.strips(), y.k_tiles()});
  }
  multiply_strips(executor, layer, x, rows, then,
                  {TileProduct::Output::kStrips, y.wide_strips(), y.wide_tiles()});
  quantize_strips(executor, rows, y);
}

void quantize_strips(Executor& executor, int rows, Activations& x) noexcept {
  over_rows(executor, rows, [&](int first, int count, int) {
    executor.amx->strips_to_int8(x.wide_strips(), x.wide_tiles(), first, count, x.strips(),
                                 x.k_tiles(), x.scales());
  });
}

void multiply(Executor& executor, const Linear& layer, const RowBlock& block, MatrixView<float> y,
              const Then& then) noexcept {
  multiply_block(executor, layer, block, then, {TileProduct::Output::kFloat, y.data, y.stride});
}

void multiply(Executor& executor, const Linear& layer, const RowBlock& block, Activations& y,
              int y_first, const Then& then) noexcept {
  assert(y.format() == Activations::Format::kBFloat16Strips && y_first % 32 == 0);
  multiply_block(
      executor, layer, block, then,
      {TileProduct::Output::kStrips, strips_at(y.strips(), y.k_tiles(), y_first), y.k_tiles()});
}

ScratchNeed linear_scratch(std::initializer_list<int> inputs) {
  // Few rows: a group's sums; at least one panel, at most kFewBytes of weights 64 bytes a step.
  constexpr std::size_t kFewPanels = kFewBytes / (16 * 64);
  ScratchNeed need = ScratchNeed::of<float>(kFewRows * kFewPanels * kPanel) |
                     ScratchNeed::of<std::byte>(kTileScratch);
  for (const int n : inputs) {
    need = need | ScratchNeed::of<float>(kManySums + kManyPanels * padded(n) * kPanel);
  }
  return need;
}

}  // namespace runnel::engine
