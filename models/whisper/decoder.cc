#include "models/whisper/decoder.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numeric>

#include "engine/linear.h"

namespace runnel::models::whisper {
namespace {

using engine::Activation;
using engine::Activations;
using engine::PageBuffer;

float* floats(PageBuffer& buffer) { return reinterpret_cast<float*>(buffer.data()); }

PageBuffer float_buffer(int rows, int cols) {
  return PageBuffer(std::size_t(rows) * std::size_t(cols) * sizeof(float));
}

int head_dim(const Config& c) { return c.dim / c.decoder_heads; }

/// Bytes of one head's cross-attention keys, and of its values.
std::size_t cross_keys_bytes(const Config& c, std::size_t element) {
  return std::size_t((c.audio_ctx + 15) / 16) * 16 * std::size_t(head_dim(c)) * element;
}
std::size_t cross_values_bytes(const Config& c, std::size_t element) {
  return (std::size_t(c.audio_ctx) * std::size_t(head_dim(c)) * element + 63) / 64 * 64;
}

std::byte* cross_keys(const Config& c, DecoderCache& cache, int layer, int head) {
  const std::size_t bytes =
      cross_keys_bytes(c, cache.element()) + cross_values_bytes(c, cache.element());
  return cache.cross.data() +
         (std::size_t(layer) * std::size_t(c.decoder_heads) + std::size_t(head)) * bytes;
}

}  // namespace

DecoderCache::DecoderCache(const Config& c, const engine::ComputeConfig& compute,
                           int hypotheses_max)
    : max_hypotheses(hypotheses_max),
      half(compute.decoder != engine::Precision::kFloat32 ||
           compute.memory == engine::MemoryUsage::kMinimal),
      capacity(c.text_ctx * hypotheses_max),
      cross(std::size_t(c.decoder_layers) * std::size_t(c.decoder_heads) *
            (cross_keys_bytes(c, element()) + cross_values_bytes(c, element()))),
      self(std::size_t(c.decoder_layers) * std::size_t(capacity) * 2 * std::size_t(c.dim) *
           element()),
      rows(std::size_t(hypotheses_max) * std::size_t(c.text_ctx)),
      next_rows(rows.size()),
      audio_rows(c.audio_ctx) {}

std::size_t DecoderCache::bytes() const noexcept {
  return cross.size() + self.size() + 2 * rows.size() * sizeof(std::int32_t);
}

Decoder::Decoder(const Config& c, const GenerationConfig& generation, const DecoderWeights& weights,
                 const engine::ComputeConfig& compute, engine::Executor& executor)
    : config_(c),
      generation_(generation),
      weights_(weights),
      executor_(executor),
      few_(make_buffers(engine::kFewRows, Activations::Format::kFloat)),
      many_(make_buffers(c.text_ctx, Activations::format_of(executor, compute.decoder))),
      audio_(c.audio_ctx, c.dim, Activations::format_of(executor, compute.encoder)),
      cross_kv_(float_buffer(c.audio_ctx, 2 * c.dim)),
      last_(kLogitRows, c.dim, Activations::Format::kFloat),
      pasts_(std::size_t(c.text_ctx)),
      identity_(std::size_t(c.text_ctx)) {
  std::iota(identity_.begin(), identity_.end(), 0);
}

Decoder::Buffers Decoder::make_buffers(int rows, Activations::Format format) const {
  const Config& c = config_;
  return {.residual = float_buffer(rows, c.dim),
          .normed = Activations(rows, c.dim, format),
          .qkv = float_buffer(rows, 3 * c.dim),
          .attended = Activations(rows, c.dim, format),
          .heads = format == Activations::Format::kFloat ? PageBuffer() : float_buffer(rows, c.dim),
          .hidden = Activations(rows, c.decoder_ffn, format)};
}

void Decoder::attend_to(MatrixView<const float> encoder_rows, int first,
                        DecoderCache& cache) noexcept {
  const Config& c = config_;
  // Whole panels of keys, and so many rows that a row's bits don't depend on their number.
  const int total = encoder_rows.rows;
  const int begin = std::max(0, std::min(first, total - engine::kFewRows - 1)) / 16 * 16;
  const int n = total - begin;
  cache.audio_rows = total;
  engine::pack(executor_,
               {encoder_rows.data + begin * encoder_rows.stride, n, c.dim, encoder_rows.stride},
               audio_);
  const int dim = head_dim(c);
  const std::ptrdiff_t stride = 2 * c.dim;
  for (int layer = 0; layer < c.decoder_layers; ++layer) {
    const MatrixView<float> kv{floats(cross_kv_), n, 2 * c.dim, stride};
    engine::multiply(executor_, weights_.layers[std::size_t(layer)].cross_kv, audio_, kv,
                     {.steady = c.streaming()});
    executor_.pool.run(c.decoder_heads, [&](int head, int) {
      std::byte* keys = cross_keys(c, cache, layer, head);
      std::byte* values = keys + cross_keys_bytes(c, cache.element());
      const float* k = kv.data + head * dim;
      const float* v = k + c.dim;
      const auto pack_keys =
          cache.half ? executor_.attention.pack_keys_f16 : executor_.attention.pack_keys_f32;
      pack_keys(k, stride, n, dim, keys + std::size_t(begin * dim) * cache.element());
      for (int t = 0; t < n; ++t) {
        std::byte* to = values + std::size_t((begin + t) * dim) * cache.element();
        if (cache.half) {
          executor_.rows.to_f16(v + t * stride, dim, reinterpret_cast<std::uint16_t*>(to));
        } else {
          std::copy_n(v + t * stride, dim, reinterpret_cast<float*>(to));
        }
      }
    });
  }
}

void Decoder::embed(int token, int position, float* row) noexcept {
  const Config& c = config_;
  weights_.tokens.weight.read_row(token, row);
  executor_.rows.add(row, weights_.positions.data() + std::ptrdiff_t(position) * c.dim, c.dim, row);
}

void Decoder::prefill(std::span<const int> tokens, int first_logits, DecoderCache& cache,
                      MatrixView<float> logits, float* alignment) noexcept {
  const Config& c = config_;
  const int n = int(tokens.size());
  assert(n >= 1 && n <= c.text_ctx && first_logits < n && n - first_logits <= kLogitRows);
  Buffers& b = n > engine::kFewRows ? many_ : few_;
  for (int i = 0; i < n; ++i) {
    embed(tokens[std::size_t(i)], i, floats(b.residual) + std::ptrdiff_t(i) * c.dim);
    pasts_[std::size_t(i)] = {identity_.data(), i + 1};
    for (int h = 0; h < cache.max_hypotheses; ++h) {
      cache.rows[std::size_t(h * c.text_ctx + i)] = i;
    }
  }
  cache.used = n;
  cache.position = n;
  cache.hypotheses = 1;
  run_layers(b, {pasts_.data(), std::size_t(n)}, cache, alignment);
  project(b, first_logits, n - first_logits, logits);
}

void Decoder::step(std::span<const Step> steps, DecoderCache& cache, MatrixView<float> logits,
                   float* alignment) noexcept {
  const Config& c = config_;
  const int n = int(steps.size());
  assert(n >= 1 && n <= cache.max_hypotheses && n <= kLogitRows);
  assert(cache.position > 0 && cache.position < c.text_ctx);
  for (int i = 0; i < n; ++i) {
    const Step& s = steps[std::size_t(i)];
    assert(s.parent >= 0 && s.parent < cache.hypotheses && s.token >= 0 && s.token < c.vocab_size);
    embed(s.token, cache.position, floats(few_.residual) + std::ptrdiff_t(i) * c.dim);
    std::int32_t* past = cache.next_rows.data() + std::ptrdiff_t(i) * c.text_ctx;
    std::copy_n(cache.rows.data() + std::ptrdiff_t(s.parent) * c.text_ctx, cache.position, past);
    past[cache.position] = cache.used + i;
    pasts_[std::size_t(i)] = {past, cache.position + 1};
  }
  std::swap(cache.rows, cache.next_rows);
  cache.used += n;
  cache.position += 1;
  cache.hypotheses = n;
  run_layers(few_, {pasts_.data(), std::size_t(n)}, cache, alignment);
  project(few_, 0, n, logits);
}

void Decoder::run_layers(Buffers& b, std::span<const Past> rows, DecoderCache& cache,
                         float* alignment) noexcept {
  const Config& c = config_;
  const int n = int(rows.size());
  const MatrixView<float> x{floats(b.residual), n, c.dim, c.dim};
  for (int i = 0; i < c.decoder_layers; ++i) {
    const DecoderLayer& layer = weights_.layers[std::size_t(i)];
    engine::normalize(executor_, layer.self_norm, x, b.normed);
    self_attention(layer, i, b, rows, cache);
    engine::multiply(executor_, layer.self_out, b.attended, x, {.residual = x});
    engine::normalize(executor_, layer.cross_norm, x, b.normed);
    cross_attention(layer, i, b, n, cache, alignment);
    engine::multiply(executor_, layer.cross_out, b.attended, x, {.residual = x});
    engine::normalize(executor_, layer.ffn_norm, x, b.normed);
    engine::multiply(executor_, layer.fc1, b.normed, n, b.hidden,
                     {.activation = Activation::kGelu});
    engine::multiply(executor_, layer.fc2, b.hidden, x, {.residual = x});
  }
}

void Decoder::self_attention(const DecoderLayer& layer, int index, Buffers& b,
                             std::span<const Past> rows, DecoderCache& cache) noexcept {
  const Config& c = config_;
  const int n = int(rows.size()), dim = head_dim(c);
  const std::ptrdiff_t stride = 3 * c.dim;
  const MatrixView<float> qkv{floats(b.qkv), n, 3 * c.dim, stride};
  engine::multiply(executor_, layer.qkv, b.normed, qkv);
  const std::size_t element = cache.element();
  std::byte* self = cache.self.data() + std::size_t(index) * std::size_t(cache.capacity) * 2 *
                                            std::size_t(c.dim) * element;
  for (int i = 0; i < n; ++i) {
    const int row = rows[std::size_t(i)].rows[rows[std::size_t(i)].n - 1];
    std::byte* to = self + std::size_t(row) * 2 * std::size_t(c.dim) * element;
    const float* kv = qkv.data + i * stride + c.dim;  // keys, then values: as in the cache
    if (cache.half) {
      executor_.rows.to_f16(kv, 2 * c.dim, reinterpret_cast<std::uint16_t*>(to));
    } else {
      std::copy_n(kv, 2 * c.dim, reinterpret_cast<float*>(to));
    }
  }
  const bool strips = b.attended.format() != Activations::Format::kFloat;
  const MatrixView<float> out =
      strips ? MatrixView<float>{floats(b.heads), n, c.dim, c.dim} : b.attended.floats(n);
  const float scale = 1.0f / std::sqrt(float(dim));
  executor_.pool.run(n * c.decoder_heads, [&](int task, int thread) {
    const int row = task / c.decoder_heads, head = task % c.decoder_heads;
    const std::byte* keys = self + std::size_t(head * dim) * element;
    const engine::AttendRows context{.keys = keys,
                                     .values = keys + std::size_t(c.dim) * element,
                                     .stride = 2 * c.dim,
                                     .rows = rows[std::size_t(row)].rows,
                                     .n = rows[std::size_t(row)].n};
    const auto attend =
        cache.half ? executor_.attention.gathered_f16 : executor_.attention.gathered_f32;
    attend(qkv.data + row * stride + head * dim, context, dim, scale,
           executor_.scratch<float>(thread, engine::attention_weights(1, context.n)),
           out.data + row * out.stride + head * dim);
  });
  if (strips) engine::pack(executor_, out, b.attended);
}

void Decoder::cross_attention(const DecoderLayer& layer, int index, Buffers& b, int n,
                              DecoderCache& cache, float* alignment) noexcept {
  const Config& c = config_;
  const int dim = head_dim(c);
  const MatrixView<float> queries{floats(b.qkv), n, c.dim, c.dim};
  engine::multiply(executor_, layer.cross_query, b.normed, queries);
  const bool strips = b.attended.format() != Activations::Format::kFloat;
  const MatrixView<float> out =
      strips ? MatrixView<float>{floats(b.heads), n, c.dim, c.dim} : b.attended.floats(n);
  const float scale = 1.0f / std::sqrt(float(dim));
  const int aligned_heads = int(generation_.alignment_heads.size());
  const int audio = cache.audio_rows;
  assert(audio >= 1);
  // Head by head, so that its keys and values stay in the cache for all rows.
  executor_.pool.run(c.decoder_heads * n, [&](int task, int thread) {
    const int head = task / n, row = task % n;
    const std::byte* keys = cross_keys(c, cache, index, head);
    const engine::AttendMemory memory{
        .keys = keys, .values = keys + cross_keys_bytes(c, cache.element()), .n = audio};
    float* weights = executor_.scratch<float>(thread, engine::attention_weights(1, audio));
    const auto attend = cache.half ? executor_.attention.one_f16 : executor_.attention.one_f32;
    attend(queries.data + row * queries.stride + head * dim, memory, dim, scale, weights,
           out.data + row * out.stride + head * dim);
    if (!alignment) return;
    for (int i = 0; i < aligned_heads; ++i) {
      if (generation_.alignment_heads[std::size_t(i)] == std::pair(index, head)) {
        std::copy_n(weights, audio,
                    alignment + (std::ptrdiff_t(row) * aligned_heads + i) * c.audio_ctx);
      }
    }
  });
  if (strips) engine::pack(executor_, out, b.attended);
}

/// Final norm and logits of rows [first, first + rows).
void Decoder::project(Buffers& b, int first, int rows, MatrixView<float> logits) noexcept {
  const Config& c = config_;
  const MatrixView<const float> x{floats(b.residual) + std::ptrdiff_t(first) * c.dim, rows, c.dim,
                                  c.dim};
  engine::normalize(executor_, weights_.norm, x, last_);
  engine::multiply(executor_, weights_.tokens, last_,
                   MatrixView<float>{logits.data, rows, c.vocab_size, logits.stride});
}

std::size_t Decoder::bytes() const noexcept {
  const auto of = [](const Buffers& b) {
    return b.residual.size() + b.normed.bytes() + b.qkv.size() + b.attended.bytes() +
           b.heads.size() + b.hidden.bytes();
  };
  return of(few_) + of(many_) + audio_.bytes() + cross_kv_.size() + last_.bytes();
}

engine::ScratchNeed Decoder::scratch(const Config& c) {
  return engine::linear_scratch({c.dim, c.decoder_ffn}) |
         engine::ScratchNeed::of<float>(
             engine::attention_weights(1, std::max(c.audio_ctx, c.text_ctx)));
}

}  // namespace runnel::models::whisper
