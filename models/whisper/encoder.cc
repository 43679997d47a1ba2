#include "models/whisper/encoder.h"

#include <algorithm>
#include <cmath>

#include "engine/linear.h"

namespace runnel::models::whisper {
namespace {

using engine::Activation;
using engine::Activations;

constexpr int kQueriesPerTask = 128;  // a multiple of 32
constexpr int kBlockRows = 192;       // a multiple of 32
// Weights are read once for each block: more of them would come too slowly from the L3 cache.
constexpr int kLargestBlockDim = 512;

float* floats(engine::PageBuffer& buffer) { return reinterpret_cast<float*>(buffer.data()); }

engine::PageBuffer float_buffer(int rows, int cols) {
  return engine::PageBuffer(std::size_t(rows) * std::size_t(cols) * sizeof(float));
}

int padded_rows(const Config& c) { return (c.audio_ctx + 31) / 32 * 32; }

}  // namespace

Encoder::Encoder(const Config& c, const EncoderWeights& weights, engine::Precision precision,
                 engine::Executor& executor)
    : config_(c),
      weights_(weights),
      executor_(executor),
      on_tiles_(Activations::format_of(executor, precision) != Activations::Format::kFloat &&
                (c.dim == 64 * c.encoder_heads || c.dim == 32 * c.encoder_heads)),
      in_blocks_(on_tiles_ && precision == engine::Precision::kBFloat16 &&
                 c.dim <= kLargestBlockDim),
      mel_(float_buffer(2 * c.audio_ctx + 2, c.mel_bins)),
      stem_(float_buffer(2 * c.audio_ctx + 2, c.dim)),
      residual_(float_buffer(c.audio_ctx, c.dim)) {
  const Activations::Format format = Activations::format_of(executor, precision);
  conv1_in_ = Activations(2 * c.audio_ctx, 3 * c.mel_bins, format);
  conv2_in_ = Activations(c.audio_ctx, 3 * c.dim, format);
  const int rows = in_blocks_ ? executor.pool.threads() * kBlockRows : c.audio_ctx;
  normed_ = Activations(rows, c.dim, format);
  attended_ = Activations(c.audio_ctx, c.dim, format);
  hidden_ = Activations(rows, c.encoder_ffn, format);
  if (on_tiles_) {
    qkv_strips_ = Activations(c.audio_ctx, 3 * c.dim, Activations::Format::kBFloat16Strips);
    tiles_ = engine::PageBuffer(2 * std::size_t(c.encoder_heads) *
                                engine::attention_tile_bytes(c.audio_ctx, c.dim / c.encoder_heads));
  } else {
    qkv_ = float_buffer(c.audio_ctx, 3 * c.dim);
  }
}

void Encoder::run(MatrixView<const float> mel, MatrixView<float> out) noexcept {
  const Config& c = config_;
  const MatrixView<float> x{floats(residual_), c.audio_ctx, c.dim, c.dim};
  stem(mel);
  in_blocks_ ? run_layers_in_blocks() : run_layers();
  executor_.pool.run(c.audio_ctx, [&](int row, int) {
    executor_.rows.layer_norm(x.data + row * x.stride, weights_.norm.gamma.data(),
                              weights_.norm.beta.data(), weights_.norm.epsilon, c.dim,
                              out.data + row * out.stride);
  });
}

void Encoder::run_layers() noexcept {
  const Config& c = config_;
  const MatrixView<float> x{floats(residual_), c.audio_ctx, c.dim, c.dim};
  for (const EncoderLayer& layer : weights_.layers) {
    engine::normalize(executor_, layer.attention_norm, x, normed_);
    attend(layer);
    engine::multiply(executor_, layer.out, attended_, x, {.residual = x});
    engine::normalize(executor_, layer.ffn_norm, x, normed_);
    engine::multiply(executor_, layer.fc1, normed_, c.audio_ctx, hidden_,
                     {.activation = Activation::kGelu});
    engine::multiply(executor_, layer.fc2, hidden_, x, {.residual = x});
  }
}

/// Between two attentions a block of rows meets nothing but weights: one thread takes it from the
/// one to the other.
void Encoder::run_layers_in_blocks() noexcept {
  const Config& c = config_;
  const int tasks = (c.audio_ctx + kBlockRows - 1) / kBlockRows;
  for (std::size_t i = 0; i <= weights_.layers.size(); ++i) {
    const EncoderLayer* const before = i > 0 ? &weights_.layers[i - 1] : nullptr;
    const EncoderLayer* const after = i < weights_.layers.size() ? &weights_.layers[i] : nullptr;
    executor_.pool.run(tasks, [&](int task, int thread) {
      const int first = task * kBlockRows, rows = std::min(kBlockRows, c.audio_ctx - first);
      const int local = thread * kBlockRows;
      const MatrixView<float> x{floats(residual_) + std::ptrdiff_t(first) * c.dim, rows, c.dim,
                                c.dim};
      if (before) {
        engine::multiply(executor_, before->out, {attended_, first, rows, thread}, x,
                         {.residual = x});
        normalize_block(before->ffn_norm, first, rows, local);
        engine::multiply(executor_, before->fc1, {normed_, local, rows, thread}, hidden_, local,
                         {.activation = Activation::kGelu});
        engine::multiply(executor_, before->fc2, {hidden_, local, rows, thread}, x,
                         {.residual = x});
      }
      if (after) {
        normalize_block(after->attention_norm, first, rows, local);
        engine::multiply(executor_, after->qkv, {normed_, local, rows, thread}, qkv_strips_, first);
      }
    });
    if (after) attend(*after);
  }
}

void Encoder::normalize_block(const engine::LayerNorm& norm, int first, int rows,
                              int local) noexcept {
  const int dim = config_.dim;
  executor_.amx->pack_bf16(floats(residual_) + std::ptrdiff_t(first) * dim, dim, 0, rows, dim,
                           norm.gamma.data(), norm.beta.data(), norm.epsilon,
                           normed_.strips() + std::ptrdiff_t(local / 16) * normed_.k_tiles() * 1024,
                           normed_.k_tiles());
}

/// Two convolutions of three taps as products of overlapping rows, then the positions.
void Encoder::stem(MatrixView<const float> mel) noexcept {
  const Config& c = config_;
  const int frames = 2 * c.audio_ctx;
  float* padded = floats(mel_) + c.mel_bins;  // behind the zero row
  const int given = std::min(mel.rows, frames);
  for (int t = 0; t < given; ++t) {
    std::copy_n(mel.data + t * mel.stride, c.mel_bins, padded + std::ptrdiff_t(t) * c.mel_bins);
  }
  std::fill(padded + std::ptrdiff_t(given) * c.mel_bins,
            padded + std::ptrdiff_t(frames) * c.mel_bins, 0.0f);
  engine::pack(executor_, {floats(mel_), frames, 3 * c.mel_bins, c.mel_bins}, conv1_in_);
  engine::multiply(executor_, weights_.conv1, conv1_in_,
                   MatrixView<float>{floats(stem_) + c.dim, frames, c.dim, c.dim},
                   {.activation = Activation::kGelu});
  engine::pack(executor_, {floats(stem_), c.audio_ctx, 3 * c.dim, 2 * c.dim}, conv2_in_);
  const MatrixView<float> x{floats(residual_), c.audio_ctx, c.dim, c.dim};
  engine::multiply(executor_, weights_.conv2, conv2_in_, x,
                   {.activation = Activation::kGelu,
                    .residual = {weights_.positions.data(), c.audio_ctx, c.dim, c.dim}});
}

void Encoder::attend(const EncoderLayer& layer) noexcept {
  on_tiles_ ? attend_tiles(layer) : attend_floats(layer);
}

void Encoder::attend_tiles(const EncoderLayer& layer) noexcept {
  const Config& c = config_;
  if (!in_blocks_) engine::multiply(executor_, layer.qkv, normed_, c.audio_ctx, qkv_strips_);
  const int dim = c.dim / c.encoder_heads;
  const std::size_t bytes = engine::attention_tile_bytes(c.audio_ctx, dim);
  const bool int8 = attended_.format() == Activations::Format::kInt8Strips;
  const auto head_at = [&](int head) {
    const std::byte* queries = qkv_strips_.strips() + head * dim / 32 * 1024;
    return engine::TileAttention{.queries = queries,
                                 .query_tiles = qkv_strips_.k_tiles(),
                                 .keys = queries + c.dim / 32 * 1024,
                                 .values = queries + 2 * c.dim / 32 * 1024,
                                 .tiles = qkv_strips_.k_tiles(),
                                 .n = c.audio_ctx,
                                 .dim = dim,
                                 .scale = 1.0f / std::sqrt(float(dim)),
                                 .key_tiles = tiles_.data() + 2 * std::size_t(head) * bytes,
                                 .value_tiles = tiles_.data() + (2 * std::size_t(head) + 1) * bytes,
                                 .out = int8 ? attended_.wide_strips() : attended_.strips(),
                                 .out_tiles = int8 ? attended_.wide_tiles() : attended_.k_tiles(),
                                 .out_first_tile = head * dim / 32};
  };
  executor_.pool.run(c.encoder_heads,
                     [&](int head, int) { executor_.amx->prepare_attention(head_at(head)); });
  const int queries = padded_rows(c);
  const int tasks = (queries + kQueriesPerTask - 1) / kQueriesPerTask;
  executor_.pool.run(c.encoder_heads * tasks, [&](int task, int thread) {
    const int first = task % tasks * kQueriesPerTask;
    executor_.amx->attend(head_at(task / tasks), first, std::min(kQueriesPerTask, queries - first),
                          executor_.scratch<std::byte>(thread, engine::kAttentionScratch));
  });
  if (int8) engine::quantize_strips(executor_, c.audio_ctx, attended_);
}

void Encoder::attend_floats(const EncoderLayer& layer) noexcept {
  const Config& c = config_;
  const std::ptrdiff_t stride = 3 * c.dim;
  const MatrixView<float> qkv{floats(qkv_), c.audio_ctx, 3 * c.dim, stride};
  engine::multiply(executor_, layer.qkv, normed_, qkv);
  // Where the product that follows reads strips, the queries' place takes the result first.
  const bool strips = attended_.format() != Activations::Format::kFloat;
  const MatrixView<float> out = strips ? qkv.columns(0, c.dim) : attended_.floats(c.audio_ctx);
  const int dim = c.dim / c.encoder_heads;
  const int tasks = (c.audio_ctx + kQueriesPerTask - 1) / kQueriesPerTask;
  executor_.pool.run(c.encoder_heads * tasks, [&](int task, int thread) {
    const int head = task / tasks, first = task % tasks * kQueriesPerTask;
    const float* q = qkv.data + head * dim;
    float* scratch = executor_.scratch<float>(thread, engine::attention_scratch(c.audio_ctx, dim));
    executor_.attention.many(q, stride, first, std::min(kQueriesPerTask, c.audio_ctx - first),
                             c.audio_ctx, q + c.dim, q + 2 * c.dim, stride, c.audio_ctx, dim,
                             1.0f / std::sqrt(float(dim)), false, scratch, out.data + head * dim,
                             out.stride);
  });
  if (strips) engine::pack(executor_, out, attended_);
}

std::size_t Encoder::bytes() const noexcept {
  return mel_.size() + stem_.size() + conv1_in_.bytes() + conv2_in_.bytes() + residual_.size() +
         normed_.bytes() + qkv_.size() + qkv_strips_.bytes() + tiles_.size() + attended_.bytes() +
         hidden_.bytes();
}

engine::ScratchNeed Encoder::scratch(const Config& c) {
  return engine::linear_scratch({3 * c.mel_bins, 3 * c.dim, c.dim, c.encoder_ffn}) |
         engine::attention_need(c.audio_ctx, c.dim / c.encoder_heads);
}

}  // namespace runnel::models::whisper
