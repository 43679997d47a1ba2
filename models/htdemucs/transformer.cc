#include "models/htdemucs/transformer.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

#include "engine/activations.h"
#include "engine/linear.h"
#include "engine/page_buffer.h"
#include "models/htdemucs/token_positions.h"
#include "models/htdemucs/transformer_weights.h"

namespace runnel::models::htdemucs {
namespace {

using engine::Activation;
using engine::Activations;

constexpr int kQueriesPerTask = 128;  // a multiple of 32
constexpr int kRowsPerTask = 16;      // of normalisation
constexpr float kEpsilon = 1e-5f;     // of every normalisation
constexpr int kLargestTileHead = 64, kLargestHead = 128;

int padded_rows(int rows) { return (rows + 31) / 32 * 32; }
int hidden_of(const Config& c) { return int(float(c.transformer_dim()) * c.t_hidden_scale); }

engine::PageBuffer float_buffer(int rows, int cols) {
  return engine::PageBuffer(std::size_t(rows) * std::size_t(cols) * sizeof(float));
}

HeadShape head_shape(const Config& c, Activations::Format format) {
  const int dim = c.t_heads > 0 ? c.transformer_dim() / c.t_heads : 0;
  if (dim * c.t_heads != c.transformer_dim() || dim < 1 || dim > kLargestHead || dim % 2 != 0) {
    throw std::runtime_error("htdemucs: expected attention heads of an even size up to " +
                             std::to_string(kLargestHead) + ", found " +
                             std::to_string(c.transformer_dim()) + " channels in " +
                             std::to_string(c.t_heads) + " heads");
  }
  const bool tiles = format != Activations::Format::kFloat && dim <= kLargestTileHead;
  return {.heads = c.t_heads, .dim = dim, .padded = tiles ? (dim + 31) / 32 * 32 : dim};
}

Activations::Format format_for(const engine::Executor& executor, engine::Precision precision) {
  if (precision != engine::Precision::kFloat32 && precision != engine::Precision::kBFloat16) {
    throw std::invalid_argument("htdemucs: expected float32 or bfloat16, found " +
                                std::string(engine::name(precision)));
  }
  return Activations::format_of(executor, precision);
}

/// One branch: weights and everything between its layers.
struct Branch {
  Branch(TransformerBranch packed, TokenPositions places, int row_count, int channels, int dim,
         int hidden_dim, const HeadShape& heads, Activations::Format format, bool on_tiles)
      : weights(std::move(packed)),
        positions(std::move(places)),
        rows(row_count),
        residual(float_buffer(rows, dim)),
        x{reinterpret_cast<float*>(residual.data()), rows, dim, dim},
        normed(rows, dim, format),
        qkv(std::size_t(padded_rows(rows)) * 3 * std::size_t(heads.width()) *
            (on_tiles ? sizeof(std::uint16_t) : sizeof(float))),
        attended(rows, heads.width(), format),
        hidden(rows, hidden_dim, format),
        row_moments(2 * std::size_t(rows)),
        group_scale(std::size_t(dim)),
        group_shift(std::size_t(dim)) {
    if (has_samplers()) up_in = Activations(rows, channels, format);
    if (on_tiles) {
      tiles = engine::PageBuffer(2 * std::size_t(heads.heads) *
                                 engine::attention_tile_bytes(rows, heads.padded));
    }
  }

  bool has_samplers() const noexcept { return weights.up.weight.outputs() > 0; }

  std::size_t scratch_bytes() const {
    return positions.bytes() + residual.size() + up_in.bytes() + normed.bytes() + qkv.size() +
           tiles.size() + attended.bytes() + hidden.bytes() +
           (row_moments.size() + group_scale.size() + group_shift.size()) * sizeof(float);
  }

  TransformerBranch weights;
  TokenPositions positions;
  int rows;
  engine::PageBuffer residual;
  MatrixView<float> x;               // [rows, dim], what the layers add to
  Activations up_in;                 // [rows, channels]
  Activations normed;                // [rows, dim]
  engine::PageBuffer qkv;            // [rows padded to 32, 3 · width]: float, or bfloat16 on tiles
  engine::PageBuffer tiles;          // keys and values of each head, laid out; on tiles only
  Activations attended;              // [rows, width]
  Activations hidden;                // [rows, hidden]
  AlignedVector<float> row_moments;  // [rows, 2]: mean, squares
  AlignedVector<float> group_scale, group_shift;  // [dim]: norm_out of the layer before, if
  bool grouped = false;                           // there is one that isn't applied yet
};

}  // namespace

struct Transformer::Impl {
  Impl(const Config& c, const TokenGrid& grid, const TensorSource& tensors,
       engine::Precision precision, engine::Executor& with)
      : Impl(c, grid, with, format_for(with, precision), head_shape(c, format_for(with, precision)),
             tensors, precision) {}

  Impl(const Config& c, const TokenGrid& grid, engine::Executor& with, Activations::Format format,
       const HeadShape& head_shape, const TensorSource& tensors, engine::Precision precision)
      : Impl(c, grid, with, format, head_shape,
             pack_transformer(c, head_shape, tensors, precision)) {}

  Impl(const Config& c, const TokenGrid& grid, engine::Executor& with, Activations::Format format,
       const HeadShape& head_shape, TransformerWeights weights)
      : executor(with),
        heads(head_shape),
        dim(c.transformer_dim()),
        on_tiles(format != Activations::Format::kFloat && heads.dim <= kLargestTileHead),
        spectral(std::move(weights.spectral),
                 TokenPositions::of_spectrum(grid.frequencies, grid.frames, dim, c.t_max_period,
                                             c.t_weight_pos_embed),
                 grid.frequencies * grid.frames, c.channels_of(c.depth - 1), dim, hidden_of(c),
                 heads, format, on_tiles),
        temporal(std::move(weights.temporal),
                 TokenPositions::of_steps(grid.steps, dim, c.t_max_period, c.t_weight_pos_embed),
                 grid.steps, c.channels_of(c.depth - 1), dim, hidden_of(c), heads, format,
                 on_tiles),
        ones(std::size_t(dim), 1.0f),
        zeros(std::size_t(dim), 0.0f) {}

  void run(MatrixView<const float> x, MatrixView<const float> xt, MatrixView<float> out,
           MatrixView<float> out_t) noexcept {
    enter(spectral, x);
    enter(temporal, xt);
    const std::size_t layers = spectral.weights.layers.size();
    for (std::size_t i = 0; i < layers; ++i) {
      for (Branch* branch : {&spectral, &temporal}) look(*branch, branch->weights.layers[i]);
      attend(spectral, temporal, i);
      attend(temporal, spectral, i);
      for (Branch* branch : {&spectral, &temporal}) think(*branch, branch->weights.layers[i]);
    }
    leave(spectral, out);
    leave(temporal, out_t);
  }

  /// Runs `fill(row)` for each row, some at a time.
  template <class Fill>
  void over_rows(int rows, const Fill& fill) noexcept {
    executor.pool.run((rows + kRowsPerTask - 1) / kRowsPerTask, [&](int task, int) {
      const int first = task * kRowsPerTask;
      for (int r = first; r < std::min(first + kRowsPerTask, rows); ++r) fill(r);
    });
  }

  /// The row of `x`, as the next product reads it; normalised first or not.
  void pack_row(const float* x, int row, int cols, bool normalise, Activations& out) noexcept {
    if (out.format() != Activations::Format::kFloat) {
      return executor.amx->pack_bf16(x - std::ptrdiff_t(row) * cols, cols, row, 1, cols,
                                     normalise ? ones.data() : nullptr, zeros.data(), kEpsilon,
                                     out.strips(), out.k_tiles());
    }
    float* to = out.floats(row + 1).row(row).data();
    if (!normalise) return void(std::copy_n(x, cols, to));
    executor.rows.layer_norm(x, ones.data(), zeros.data(), kEpsilon, cols, to);
  }

  void enter(Branch& b, MatrixView<const float> in) noexcept {
    if (b.has_samplers()) {
      engine::pack(executor, in, b.up_in);
      engine::multiply(executor, b.weights.up, b.up_in, b.x);
      in = b.x;
    }
    const engine::LayerNorm& norm = b.weights.norm_in;
    over_rows(b.rows, [&](int r) {
      float* x = b.x.row(r).data();
      executor.rows.layer_norm(in.row(r).data(), norm.gamma.data(), norm.beta.data(), kEpsilon, dim,
                               x);
      b.positions.add_to(executor.rows, r, x);
    });
    b.grouped = false;
  }

  /// The norm_out of the layer before, then queries, keys and values of this one.
  void look(Branch& b, const TransformerLayer& layer) noexcept {
    over_rows(b.rows, [&](int r) {
      float* x = b.x.row(r).data();
      if (b.grouped) {
        executor.rows.scale_shift(x, b.group_scale.data(), b.group_shift.data(), dim, x);
      }
      pack_row(x, r, dim, true, b.normed);
    });
    const int cols = 3 * heads.width();
    if (on_tiles) {
      engine::multiply(executor, layer.qkv, b.normed,
                       MatrixView<std::uint16_t>{narrow_qkv(b), b.rows, cols, cols});
    } else {
      engine::multiply(executor, layer.qkv, b.normed, wide_qkv(b));
    }
  }

  /// Queries of `b` meet the keys of itself or of the other branch.
  void attend(Branch& b, Branch& other, std::size_t i) noexcept {
    const TransformerLayer& layer = b.weights.layers[i];
    Branch& seen = layer.cross ? other : b;
    on_tiles ? attend_tiles(b, seen) : attend_floats(b, seen);
  }

  /// The rest of a layer but for its norm_out, of which it leaves what the next step multiplies by.
  void think(Branch& b, const TransformerLayer& layer) noexcept {
    engine::multiply(executor, layer.out, b.attended, b.x, {.residual = b.x});
    over_rows(b.rows, [&](int r) { pack_row(b.x.row(r).data(), r, dim, true, b.normed); });
    engine::multiply(executor, layer.linear1, b.normed, b.rows, b.hidden,
                     {.activation = Activation::kGelu});
    engine::multiply(executor, layer.linear2, b.hidden, b.x, {.residual = b.x});
    measure_group(b, layer);
  }

  /// Mean and variance of all rows together: each row's, then these in their order, so that
  /// threads change nothing.
  void measure_group(Branch& b, const TransformerLayer& layer) noexcept {
    over_rows(b.rows, [&](int r) {
      float* moments = b.row_moments.data() + 2 * std::ptrdiff_t(r);
      executor.rows.moments(b.x.row(r).data(), dim, moments, moments + 1);
    });
    double mean = 0;
    for (int r = 0; r < b.rows; ++r) mean += b.row_moments[2 * std::size_t(r)];
    mean /= b.rows;
    double squares = 0;
    for (int r = 0; r < b.rows; ++r) {
      const double apart = b.row_moments[2 * std::size_t(r)] - mean;
      squares += b.row_moments[2 * std::size_t(r) + 1] + dim * apart * apart;
    }
    const double scale = 1 / std::sqrt(squares / (double(b.rows) * dim) + kEpsilon);
    for (std::size_t c = 0; c < std::size_t(dim); ++c) {
      b.group_scale[c] = float(scale * layer.group_scale[c]);
      b.group_shift[c] = float(layer.group_shift[c] - mean * scale * layer.group_scale[c]);
    }
    b.grouped = true;
  }

  void leave(Branch& b, MatrixView<float> out) noexcept {
    over_rows(b.rows, [&](int r) {
      float* x = b.x.row(r).data();
      float* to = b.has_samplers() ? x : out.row(r).data();
      if (b.grouped) {
        executor.rows.scale_shift(x, b.group_scale.data(), b.group_shift.data(), dim, to);
      } else if (to != x) {
        std::copy_n(x, dim, to);
      }
      if (b.has_samplers()) pack_row(x, r, dim, false, b.normed);
    });
    if (b.has_samplers()) engine::multiply(executor, b.weights.down, b.normed, out);
  }

  std::uint16_t* narrow_qkv(Branch& b) const noexcept {
    return reinterpret_cast<std::uint16_t*>(b.qkv.data());
  }
  MatrixView<float> wide_qkv(Branch& b) const noexcept {
    const int cols = 3 * heads.width();
    return {reinterpret_cast<float*>(b.qkv.data()), b.rows, cols, cols};
  }
  float score_scale() const noexcept { return 1.0f / std::sqrt(float(heads.dim)); }

  void attend_tiles(Branch& b, Branch& seen) noexcept {
    const int width = heads.width(), size = heads.padded;
    const std::size_t bytes = engine::attention_tile_bytes(seen.rows, size);
    const auto head_at = [&](int head) {
      const std::uint16_t* keys = narrow_qkv(seen) + width + head * size;
      return engine::TileAttention{
          .queries = narrow_qkv(b) + head * size,
          .query_stride = 3 * width,
          .keys = keys,
          .values = keys + width,
          .stride = 3 * width,
          .n = seen.rows,
          .dim = size,
          .scale = score_scale(),
          .key_tiles = seen.tiles.data() + 2 * std::size_t(head) * bytes,
          .value_tiles = seen.tiles.data() + (2 * std::size_t(head) + 1) * bytes,
          .out = b.attended.strips(),
          .out_tiles = b.attended.k_tiles(),
          .out_first_tile = head * size / 32};
    };
    executor.pool.run(heads.heads,
                      [&](int head, int) { executor.amx->prepare_attention(head_at(head)); });
    const int queries = padded_rows(b.rows);
    const int tasks = (queries + kQueriesPerTask - 1) / kQueriesPerTask;
    executor.pool.run(heads.heads * tasks, [&](int task, int thread) {
      const int first = task % tasks * kQueriesPerTask;
      executor.amx->attend(head_at(task / tasks), first, std::min(kQueriesPerTask, queries - first),
                           executor.scratch<std::byte>(thread));
    });
  }

  void attend_floats(Branch& b, Branch& seen) noexcept {
    const int width = heads.width(), size = heads.padded;
    const MatrixView<float> queries = wide_qkv(b), kv = wide_qkv(seen);
    // Where the product that follows reads strips, the queries' place takes the result first.
    const bool strips = b.attended.format() != Activations::Format::kFloat;
    const MatrixView<float> out = strips ? queries.columns(0, width) : b.attended.floats(b.rows);
    const int tasks = (b.rows + kQueriesPerTask - 1) / kQueriesPerTask;
    executor.pool.run(heads.heads * tasks, [&](int task, int thread) {
      const int at = task / tasks * size, first = task % tasks * kQueriesPerTask;
      executor.attention.many(
          queries.data + at, queries.stride, first, std::min(kQueriesPerTask, b.rows - first),
          b.rows, kv.data + width + at, kv.data + 2 * width + at, kv.stride, seen.rows, size,
          score_scale(), false, executor.scratch<float>(thread), out.data + at, out.stride);
    });
    if (strips) engine::pack(executor, out, b.attended);
  }

  engine::Executor& executor;
  const HeadShape heads;
  const int dim;
  const bool on_tiles;  // attention by AMX
  Branch spectral, temporal;
  const AlignedVector<float> ones, zeros;  // [dim]
};

Transformer::Transformer(const Config& config, const TokenGrid& grid, const TensorSource& tensors,
                         engine::Precision precision, engine::Executor& executor)
    : impl_(std::make_unique<Impl>(config, grid, tensors, precision, executor)) {}

Transformer::~Transformer() = default;

void Transformer::run(MatrixView<const float> x, MatrixView<const float> xt, MatrixView<float> out,
                      MatrixView<float> out_t) noexcept {
  impl_->run(x, xt, out, out_t);
}

std::size_t Transformer::weight_bytes() const noexcept {
  return bytes_of(impl_->spectral.weights) + bytes_of(impl_->temporal.weights);
}

std::size_t Transformer::scratch_bytes() const noexcept {
  return impl_->spectral.scratch_bytes() + impl_->temporal.scratch_bytes();
}

std::size_t Transformer::executor_scratch_bytes(const Config& c, const TokenGrid& grid) {
  const int heads = std::max(1, c.t_heads), size = c.transformer_dim() / heads;
  const int widest = std::max({c.channels_of(c.depth - 1), hidden_of(c), kLargestTileHead * heads});
  const int most = std::max(grid.frequencies * grid.frames, grid.steps);
  return std::max({engine::linear_scratch_bytes(widest), engine::kAttentionScratch,
                   engine::attention_scratch(most, size) * sizeof(float)});
}

}  // namespace runnel::models::htdemucs
