#include "models/htdemucs/transformer.h"

#include <algorithm>
#include <cmath>
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
constexpr int kRowsPerTask = 16;      // of normalisation: they stay in the L1 cache
// Rows that go through layers together, a multiple of 32: of 2688 and 1344 tokens 18 equal blocks.
constexpr int kBlockRows = 224;
constexpr float kEpsilon = 1e-5f;  // of every normalisation
constexpr int kLargestTileHead = 64;

int padded_rows(int rows) { return (rows + 31) / 32 * 32; }
int hidden_of(const Config& c) { return int(float(c.transformer_dim()) * c.t_hidden_scale); }

engine::PageBuffer float_buffer(int rows, int cols) {
  return engine::PageBuffer(std::size_t(rows) * std::size_t(cols) * sizeof(float));
}

HeadShape head_shape(const Config& c, Activations::Format format) {
  const int dim = c.t_heads > 0 ? c.transformer_dim() / c.t_heads : 0;
  if (dim * c.t_heads != c.transformer_dim() || dim < 1 || dim > engine::kMostHeadDim ||
      dim % 2 != 0) {
    throw std::runtime_error("htdemucs: expected attention heads of an even size up to " +
                             std::to_string(engine::kMostHeadDim) + ", found " +
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

/// One branch: weights and everything that its rows are kept in.
struct Branch {
  Branch(TransformerBranch packed, TokenPositions places, int row_count, int dim,
         const HeadShape& heads, Activations::Format format, bool on_tiles)
      : weights(std::move(packed)),
        positions(std::move(places)),
        rows(row_count),
        residual(float_buffer(rows, dim)),
        x{reinterpret_cast<float*>(residual.data()), rows, dim, dim},
        attended(rows, heads.width(), format),
        row_moments(2 * std::size_t(rows)),
        group_scale(std::size_t(dim)),
        group_shift(std::size_t(dim)) {
    if (on_tiles) {
      qkv_strips = Activations(rows, 3 * heads.width(), format);
      tiles = engine::PageBuffer(2 * std::size_t(heads.heads) *
                                 engine::attention_tile_bytes(rows, heads.padded));
    } else {
      qkv = float_buffer(rows, 3 * heads.width());
    }
  }

  std::size_t scratch_bytes() const {
    return positions.bytes() + residual.size() + qkv.size() + qkv_strips.bytes() + tiles.size() +
           attended.bytes() +
           (row_moments.size() + group_scale.size() + group_shift.size()) * sizeof(float);
  }

  TransformerBranch weights;
  TokenPositions positions;
  int rows;
  engine::PageBuffer residual;
  MatrixView<float> x;               // [rows, dim], what the layers add to
  engine::PageBuffer qkv;            // [rows, 3 · width] floats; not on tiles
  Activations qkv_strips;            // the same on tiles
  engine::PageBuffer tiles;          // keys and values of each head, laid out; on tiles only
  Activations attended;              // [rows, width]
  AlignedVector<float> row_moments;  // [rows, 2]: mean, squares
  AlignedVector<float> group_scale, group_shift;  // [dim]: norm_out of the layer before, if
  bool grouped = false;                           // there is one that isn't applied yet
};

/// Rows that go from product to product together: on tiles some of a branch, by one thread, so that
/// what is between the products stays in its cache; on floats all of them, by all threads.
struct Block {
  Branch& branch;
  int first = 0, rows = 0;
  int thread = 0;
  int local = 0;  // its first row in what threads have for themselves

  template <class T>
  MatrixView<T> of(const MatrixView<T>& all) const noexcept {
    return {all.data + first * all.stride, rows, all.cols, all.stride};
  }
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
        blocks(format != Activations::Format::kFloat),
        spectral(std::move(weights.spectral),
                 TokenPositions::of_spectrum(grid.frequencies, grid.frames, dim, c.t_max_period,
                                             c.t_weight_pos_embed),
                 grid.frequencies * grid.frames, dim, heads, format, on_tiles),
        temporal(std::move(weights.temporal),
                 TokenPositions::of_steps(grid.steps, dim, c.t_max_period, c.t_weight_pos_embed),
                 grid.steps, dim, heads, format, on_tiles),
        ones(std::size_t(dim), 1.0f),
        zeros(std::size_t(dim), 0.0f) {
    const int rows =
        blocks ? executor.pool.threads() * kBlockRows : std::max(spectral.rows, temporal.rows);
    if (c.bottom_channels > 0) unsampled = Activations(rows, c.channels_of(c.depth - 1), format);
    normed = Activations(rows, dim, format);
    hidden = Activations(rows, hidden_of(c), format);
  }

  void run(MatrixView<const float> x, MatrixView<const float> xt, MatrixView<float> out,
           MatrixView<float> out_t) noexcept {
    over_blocks([&](const Block& b) { enter(b, &b.branch == &spectral ? x : xt); });
    for (std::size_t i = 0; i < spectral.weights.layers.size(); ++i) {
      over_blocks([&](const Block& b) { look(b, b.branch.weights.layers[i]); });
      attend(spectral, temporal, i);
      attend(temporal, spectral, i);
      over_blocks([&](const Block& b) { think(b, b.branch.weights.layers[i]); });
      for (Branch* branch : {&spectral, &temporal}) group(*branch, branch->weights.layers[i]);
    }
    over_blocks([&](const Block& b) { leave(b, &b.branch == &spectral ? out : out_t); });
    spectral.grouped = temporal.grouped = false;
  }

  template <class Fill>
  void over_blocks(const Fill& fill) noexcept {
    if (!blocks) {
      for (Branch* branch : {&spectral, &temporal}) fill(Block{*branch, 0, branch->rows});
      return;
    }
    const int spectral_blocks = (spectral.rows + kBlockRows - 1) / kBlockRows;
    const int temporal_blocks = (temporal.rows + kBlockRows - 1) / kBlockRows;
    executor.pool.run(spectral_blocks + temporal_blocks, [&](int task, int thread) {
      Branch& branch = task < spectral_blocks ? spectral : temporal;
      const int first = (task < spectral_blocks ? task : task - spectral_blocks) * kBlockRows;
      fill(Block{branch, first, std::min(kBlockRows, branch.rows - first), thread,
                 thread * kBlockRows});
    });
  }

  /// Runs `fill(first, count)` over the block's rows, some at a time.
  template <class Fill>
  void over_rows(const Block& b, const Fill& fill) noexcept {
    const int tasks = (b.rows + kRowsPerTask - 1) / kRowsPerTask;
    const auto task = [&](int i, int) {
      fill(i * kRowsPerTask, std::min(kRowsPerTask, b.rows - i * kRowsPerTask));
    };
    if (!blocks) return executor.pool.run(tasks, task);
    for (int i = 0; i < tasks; ++i) task(i, 0);
  }

  /// Rows [first, first + count) of a block's `x`, as the next product reads them; normalised first
  /// or not.
  void pack(const Block& b, MatrixView<const float> x, int first, int count, bool normalise,
            Activations& out) noexcept {
    if (blocks) {
      std::byte* strips = out.strips() + std::ptrdiff_t(b.local / 16) * out.k_tiles() * 1024;
      return executor.amx->pack_bf16(x.data, x.stride, first, count, x.cols,
                                     normalise ? ones.data() : nullptr, zeros.data(), kEpsilon,
                                     strips, out.k_tiles());
    }
    const MatrixView<float> to = out.floats(b.rows);
    for (int r = first; r < first + count; ++r) {
      if (normalise) {
        executor.rows.layer_norm(x.row(r).data(), ones.data(), zeros.data(), kEpsilon, x.cols,
                                 to.row(r).data());
      } else {
        std::copy_n(x.row(r).data(), x.cols, to.row(r).data());
      }
    }
  }

  /// Rows of `in` from `in_first` through a layer. y and the residual: of the block.
  void multiply(const Block& b, const engine::Linear& layer, const Activations& in, int in_first,
                MatrixView<float> y, const engine::Then& then = {}) noexcept {
    if (!blocks) return engine::multiply(executor, layer, in, y, then);
    engine::multiply(executor, layer, {in, in_first, b.rows, b.thread}, y, then);
  }

  void enter(const Block& b, MatrixView<const float> in) noexcept {
    const MatrixView<float> x = b.of(b.branch.x);
    in = b.of(in);
    if (has_samplers()) {
      over_rows(b, [&](int first, int count) { pack(b, in, first, count, false, unsampled); });
      multiply(b, b.branch.weights.up, unsampled, b.local, x);
      in = x;
    }
    const engine::LayerNorm& norm = b.branch.weights.norm_in;
    over_rows(b, [&](int first, int count) {
      for (int r = first; r < first + count; ++r) {
        executor.rows.layer_norm(in.row(r).data(), norm.gamma.data(), norm.beta.data(), kEpsilon,
                                 dim, x.row(r).data());
        b.branch.positions.add_to(executor.rows, b.first + r, x.row(r).data());
      }
    });
  }

  /// The norm_out of the layer before, then queries, keys and values of this one.
  void look(const Block& b, const TransformerLayer& layer) noexcept {
    const MatrixView<float> x = b.of(b.branch.x);
    over_rows(b, [&](int first, int count) {
      if (b.branch.grouped) apply_group(b.branch, x, first, count, x);
      pack(b, x, first, count, true, normed);
    });
    if (on_tiles) {
      engine::multiply(executor, layer.qkv, {normed, b.local, b.rows, b.thread},
                       b.branch.qkv_strips, b.first);
    } else {
      multiply(b, layer.qkv, normed, b.local, b.of(wide_qkv(b.branch)));
    }
  }

  /// Queries of `b` meet the keys of itself or of the other branch.
  void attend(Branch& b, Branch& other, std::size_t i) noexcept {
    Branch& seen = b.weights.layers[i].cross ? other : b;
    on_tiles ? attend_tiles(b, seen) : attend_floats(b, seen);
  }

  /// The rest of a layer but for its norm_out, for which it takes each row's moments.
  void think(const Block& b, const TransformerLayer& layer) noexcept {
    const MatrixView<float> x = b.of(b.branch.x);
    multiply(b, layer.out, b.branch.attended, b.first, x, {.residual = x});
    over_rows(b, [&](int first, int count) { pack(b, x, first, count, true, normed); });
    if (blocks) {
      engine::multiply(executor, layer.linear1, {normed, b.local, b.rows, b.thread}, hidden,
                       b.local, {.activation = Activation::kGelu});
    } else {
      engine::multiply(executor, layer.linear1, normed, b.rows, hidden,
                       {.activation = Activation::kGelu});
    }
    multiply(b, layer.linear2, hidden, b.local, x, {.residual = x});
    over_rows(b, [&](int first, int count) {
      for (int r = first; r < first + count; ++r) {
        float* moments = b.branch.row_moments.data() + 2 * std::ptrdiff_t(b.first + r);
        executor.rows.moments(x.row(r).data(), dim, moments, moments + 1);
      }
    });
  }

  /// Mean and variance of all rows together, from each row's in their order, so that threads change
  /// nothing: what the next step multiplies and adds.
  void group(Branch& b, const TransformerLayer& layer) noexcept {
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

  void apply_group(const Branch& b, MatrixView<const float> x, int first, int count,
                   MatrixView<float> out) noexcept {
    for (int r = first; r < first + count; ++r) {
      executor.rows.scale_shift(x.row(r).data(), b.group_scale.data(), b.group_shift.data(), dim,
                                out.row(r).data());
    }
  }

  void leave(const Block& b, MatrixView<float> out) noexcept {
    const MatrixView<float> x = b.of(b.branch.x);
    out = b.of(out);
    over_rows(b, [&](int first, int count) {
      const MatrixView<float> to = has_samplers() ? x : out;
      if (b.branch.grouped) {
        apply_group(b.branch, x, first, count, to);
      } else if (!has_samplers()) {
        for (int r = first; r < first + count; ++r) {
          std::copy_n(x.row(r).data(), dim, to.row(r).data());
        }
      }
      if (has_samplers()) pack(b, x, first, count, false, normed);
    });
    if (has_samplers()) multiply(b, b.branch.weights.down, normed, b.local, out);
  }

  bool has_samplers() const noexcept { return unsampled.cols() > 0; }
  MatrixView<float> wide_qkv(Branch& b) const noexcept {
    const int cols = 3 * heads.width();
    return {reinterpret_cast<float*>(b.qkv.data()), b.rows, cols, cols};
  }
  float score_scale() const noexcept { return 1.0f / std::sqrt(float(heads.dim)); }

  void attend_tiles(Branch& b, Branch& seen) noexcept {
    const int width = heads.width(), size = heads.padded;
    const std::size_t bytes = engine::attention_tile_bytes(seen.rows, size);
    const auto head_at = [&](int head) {
      const int column = head * size / 32 * 1024, part = width / 32 * 1024;
      const std::byte* keys = seen.qkv_strips.strips() + part + column;
      return engine::TileAttention{
          .queries = b.qkv_strips.strips() + column,
          .query_tiles = b.qkv_strips.k_tiles(),
          .keys = keys,
          .values = keys + part,
          .tiles = seen.qkv_strips.k_tiles(),
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
                           executor.scratch<std::byte>(thread, engine::kAttentionScratch));
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
      float* scratch = executor.scratch<float>(thread, engine::attention_scratch(seen.rows, size));
      executor.attention.many(queries.data + at, queries.stride, first,
                              std::min(kQueriesPerTask, b.rows - first), b.rows,
                              kv.data + width + at, kv.data + 2 * width + at, kv.stride, seen.rows,
                              size, score_scale(), false, scratch, out.data + at, out.stride);
    });
    if (strips) engine::pack(executor, out, b.attended);
  }

  engine::Executor& executor;
  const HeadShape heads;
  const int dim;
  const bool on_tiles;  // attention by AMX
  const bool blocks;    // products on strips, by blocks of rows
  Branch spectral, temporal;
  // Of each thread's block, or of all rows of a branch:
  Activations unsampled;                   // [rows, channels]; empty: there are no samplers
  Activations normed;                      // [rows, dim]
  Activations hidden;                      // [rows, hidden]
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
  return impl_->spectral.scratch_bytes() + impl_->temporal.scratch_bytes() +
         impl_->unsampled.bytes() + impl_->normed.bytes() + impl_->hidden.bytes();
}

engine::ScratchNeed Transformer::scratch(const Config& c, const TokenGrid& grid) {
  const int dim = c.transformer_dim(), heads = std::max(1, c.t_heads);
  const int width = std::max(dim, kLargestTileHead * heads);  // heads are padded up to tiles
  const int most = std::max(grid.frequencies * grid.frames, grid.steps);
  return engine::linear_scratch({c.channels_of(c.depth - 1), dim, hidden_of(c), width}) |
         engine::attention_need(most, dim / heads);
}

}  // namespace runnel::models::htdemucs
