#include "models/whisper/encoder.h"

#include <algorithm>
#include <cmath>

#include "engine/linear.h"

namespace runnel::models::whisper {
namespace {

using engine::Activation;
using engine::Activations;

constexpr int kQueriesPerTask = 128;  // a multiple of 32

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
      mel_(float_buffer(2 * c.audio_ctx + 2, c.mel_bins)),
      stem_(float_buffer(2 * c.audio_ctx + 2, c.dim)),
      residual_(float_buffer(c.audio_ctx, c.dim)) {
  const Activations::Format format = Activations::format_of(executor, precision);
  conv1_in_ = Activations(2 * c.audio_ctx, 3 * c.mel_bins, format);
  conv2_in_ = Activations(c.audio_ctx, 3 * c.dim, format);
  normed_ = Activations(c.audio_ctx, c.dim, format);
  attended_ = Activations(c.audio_ctx, c.dim, format);
  hidden_ = Activations(c.audio_ctx, c.encoder_ffn, format);
  qkv_ = engine::PageBuffer(std::size_t(padded_rows(c)) * 3 * std::size_t(c.dim) *
                            (on_tiles_ ? sizeof(std::uint16_t) : sizeof(float)));
  if (on_tiles_) {
    tiles_ = engine::PageBuffer(2 * std::size_t(c.encoder_heads) *
                                engine::attention_tile_bytes(c.audio_ctx, c.dim / c.encoder_heads));
  }
}

void Encoder::run(MatrixView<const float> mel, MatrixView<float> out) noexcept {
  const Config& c = config_;
  const MatrixView<float> x{floats(residual_), c.audio_ctx, c.dim, c.dim};
  stem(mel);
  for (const EncoderLayer& layer : weights_.layers) {
    engine::normalize(executor_, layer.attention_norm, x, normed_);
    attend(layer);
    engine::multiply(executor_, layer.out, attended_, x, {.residual = x});
    engine::normalize(executor_, layer.ffn_norm, x, normed_);
    engine::multiply(executor_, layer.fc1, normed_, c.audio_ctx, hidden_,
                     {.activation = Activation::kGelu});
    engine::multiply(executor_, layer.fc2, hidden_, x, {.residual = x});
  }
  executor_.pool.run(c.audio_ctx, [&](int row, int) {
    executor_.rows.layer_norm(x.data + row * x.stride, weights_.norm.gamma.data(),
                              weights_.norm.beta.data(), weights_.norm.epsilon, c.dim,
                              out.data + row * out.stride);
  });
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
  auto* qkv = reinterpret_cast<std::uint16_t*>(qkv_.data());
  const std::ptrdiff_t stride = 3 * c.dim;
  engine::multiply(executor_, layer.qkv, normed_,
                   MatrixView<std::uint16_t>{qkv, c.audio_ctx, 3 * c.dim, stride});
  const int dim = c.dim / c.encoder_heads;
  const std::size_t bytes = engine::attention_tile_bytes(c.audio_ctx, dim);
  const bool int8 = attended_.format() == Activations::Format::kInt8Strips;
  const auto head_at = [&](int head) {
    return engine::TileAttention{.queries = qkv + head * dim,
                                 .query_stride = stride,
                                 .keys = qkv + c.dim + head * dim,
                                 .values = qkv + 2 * c.dim + head * dim,
                                 .stride = stride,
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
                          executor_.scratch<std::byte>(thread));
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
    executor_.attention.many(q, stride, first, std::min(kQueriesPerTask, c.audio_ctx - first),
                             c.audio_ctx, q + c.dim, q + 2 * c.dim, stride, c.audio_ctx, dim,
                             1.0f / std::sqrt(float(dim)), false, executor_.scratch<float>(thread),
                             out.data + head * dim, out.stride);
  });
  if (strips) engine::pack(executor_, out, attended_);
}

std::size_t Encoder::bytes() const noexcept {
  return mel_.size() + stem_.size() + conv1_in_.bytes() + conv2_in_.bytes() + residual_.size() +
         normed_.bytes() + qkv_.size() + tiles_.size() + attended_.bytes() + hidden_.bytes();
}

std::size_t encoder_scratch_bytes(const Config& config) {
  return std::max(engine::kAttentionScratch,
                  engine::attention_scratch(config.audio_ctx, config.dim / config.encoder_heads) *
                      sizeof(float));
}

}  // namespace runnel::models::whisper
