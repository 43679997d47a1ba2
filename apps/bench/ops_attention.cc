// `runnel bench ops`: attention as Whisper's encoder and decoder and HTDemucs's transformer call
// it.

#include <algorithm>
#include <cmath>
#include <numeric>

#include "apps/bench/ops.h"
#include "engine/activations.h"
#include "engine/linear.h"
#include "engine/page_buffer.h"

namespace runnel::apps {
namespace {

using engine::Executor;

constexpr int kQueriesPerTask = 128;
constexpr int kContext = 224;  // tokens of a half-full text window
const float kScale = 1 / std::sqrt(float(kHeadDim));

std::string attention_shape(int queries, int keys, int heads) {
  return std::to_string(queries) + " over " + std::to_string(keys) + ", " + std::to_string(heads) +
         " heads";
}

Times time_tiles(OpsRun& run, int dim, int queries, int keys) {
  Executor& executor = run.executor;
  const int heads = dim / kHeadDim, padded = (queries + 31) / 32 * 32;
  engine::Activations qkv(std::max(queries, keys), 3 * dim,
                          engine::Activations::Format::kBFloat16Strips);
  const std::vector<float> values =
      random_values(std::size_t(qkv.max_rows()) * 3 * std::size_t(dim));
  engine::pack(executor, {values.data(), qkv.max_rows(), 3 * dim, 3 * dim}, qkv);
  const std::size_t bytes = engine::attention_tile_bytes(keys, kHeadDim);
  engine::PageBuffer tiles(2 * std::size_t(heads) * bytes);
  engine::Activations out(queries, dim, engine::Activations::Format::kBFloat16Strips);
  const auto head_at = [&](int head) {
    const std::byte* queries_at = qkv.strips() + head * kHeadDim / 32 * 1024;
    return engine::TileAttention{.queries = queries_at,
                                 .query_tiles = qkv.k_tiles(),
                                 .keys = queries_at + dim / 32 * 1024,
                                 .values = queries_at + 2 * dim / 32 * 1024,
                                 .tiles = qkv.k_tiles(),
                                 .n = keys,
                                 .dim = kHeadDim,
                                 .scale = kScale,
                                 .key_tiles = tiles.data() + 2 * std::size_t(head) * bytes,
                                 .value_tiles = tiles.data() + (2 * std::size_t(head) + 1) * bytes,
                                 .out = out.strips(),
                                 .out_tiles = out.k_tiles(),
                                 .out_first_tile = head * kHeadDim / 32};
  };
  const int tasks = (padded + kQueriesPerTask - 1) / kQueriesPerTask;
  return measure(run.seconds, 3, [&] {
    executor.pool.run(heads,
                      [&](int head, int) { executor.amx->prepare_attention(head_at(head)); });
    executor.pool.run(heads * tasks, [&](int task, int thread) {
      const int first = task % tasks * kQueriesPerTask;
      executor.amx->attend(head_at(task / tasks), first, std::min(kQueriesPerTask, padded - first),
                           executor.scratch<std::byte>(thread, engine::kAttentionScratch));
    });
  });
}

Times time_floats(OpsRun& run, int dim) {
  Executor& executor = run.executor;
  const int heads = dim / kHeadDim;
  const std::ptrdiff_t stride = 3 * dim;
  const std::vector<float> qkv = random_values(std::size_t(kAudioRows) * std::size_t(stride));
  std::vector<float> out(std::size_t(kAudioRows) * std::size_t(dim));
  const int tasks = (kAudioRows + kQueriesPerTask - 1) / kQueriesPerTask;
  return measure(run.seconds, 3, [&] {
    executor.pool.run(heads * tasks, [&](int task, int thread) {
      const int first = task % tasks * kQueriesPerTask;
      const float* q = qkv.data() + task / tasks * kHeadDim;
      executor.attention.many(
          q, stride, first, std::min(kQueriesPerTask, kAudioRows - first), kAudioRows, q + dim,
          q + 2 * dim, stride, kAudioRows, kHeadDim, kScale, false,
          executor.scratch<float>(thread, engine::attention_scratch(kAudioRows, kHeadDim)),
          out.data() + task / tasks * kHeadDim, dim);
    });
  });
}

/// Keys and values of as many layers as no cache holds, small numbers in float and in half.
engine::PageBuffer filled(Executor& executor, std::size_t layer_bytes) {
  const int layers = int(beyond_caches() / layer_bytes) + 1;
  engine::PageBuffer buffer(std::size_t(layers) * layer_bytes);
  executor.pool.run(layers, [&](int i, int) {
    std::fill_n(buffer.data() + std::size_t(i) * layer_bytes, layer_bytes, std::byte{0x2c});
  });
  return buffer;
}

/// One query for each head over one layer's memory after the other.
Op cross_attention(OpsRun& run, int dim, bool half) {
  Executor& executor = run.executor;
  const std::size_t element = half ? 2 : 4;
  const int heads = dim / kHeadDim;
  const std::size_t keys = std::size_t((kAudioRows + 15) / 16 * 16 * kHeadDim) * element;
  const std::size_t values = (std::size_t(kAudioRows * kHeadDim) * element + 63) / 64 * 64;
  const std::size_t layer = std::size_t(heads) * (keys + values);
  const engine::PageBuffer memory = filled(executor, layer);
  const std::vector<float> query = random_values(std::size_t(dim));
  std::vector<float> out(query.size());
  const auto attend = half ? executor.attention.one_f16 : executor.attention.one_f32;
  std::size_t at = 0;
  Op op{.bytes = double(layer), .bound = Bound::kMemory};
  op.times = measure(run.seconds, 3, [&] {
    executor.pool.run(heads, [&](int head, int thread) {
      const std::byte* from = memory.data() + at + std::size_t(head) * (keys + values);
      attend(query.data() + head * kHeadDim, {from, from + keys, kAudioRows}, kHeadDim, kScale,
             executor.scratch<float>(thread, engine::attention_weights(1, kAudioRows)),
             out.data() + head * kHeadDim);
    });
    at = at + 2 * layer > memory.size() ? 0 : at + layer;
  });
  return op;
}

Op self_attention(OpsRun& run, int dim, bool half) {
  Executor& executor = run.executor;
  const std::size_t element = half ? 2 : 4;
  const int heads = dim / kHeadDim;
  const std::size_t layer = std::size_t(kContext) * 2 * std::size_t(dim) * element;
  const engine::PageBuffer cache = filled(executor, layer);
  std::vector<std::int32_t> rows(kContext);
  std::iota(rows.begin(), rows.end(), 0);
  const std::vector<float> query = random_values(std::size_t(dim));
  std::vector<float> out(query.size());
  const auto attend = half ? executor.attention.gathered_f16 : executor.attention.gathered_f32;
  std::size_t at = 0;
  Op op{.bytes = double(layer), .bound = Bound::kMemory};
  op.times = measure(run.seconds, 3, [&] {
    executor.pool.run(heads, [&](int head, int thread) {
      const std::byte* keys = cache.data() + at + std::size_t(head * kHeadDim) * element;
      attend(query.data() + head * kHeadDim,
             {.keys = keys,
              .values = keys + std::size_t(dim) * element,
              .stride = 2 * dim,
              .rows = rows.data(),
              .n = kContext},
             kHeadDim, kScale,
             executor.scratch<float>(thread, engine::attention_weights(1, kContext)),
             out.data() + head * kHeadDim);
    });
    at = at + 2 * layer > cache.size() ? 0 : at + layer;
  });
  return op;
}

}  // namespace

void bench_encoder_attention(OpsRun& run) {
  for (const WhisperShape& whisper : kWhisperShapes) {
    for (const bool tiles : {false, true}) {
      if (tiles && !run.executor.amx) continue;
      Op op{.name = std::string(whisper.name) + " encoder attention " +
                    (tiles ? "bfloat16" : "float32"),
            .shape = attention_shape(kAudioRows, kAudioRows, whisper.dim / kHeadDim),
            .precision = tiles ? "bfloat16" : "float32",
            .operations = 4.0 * kAudioRows * kAudioRows * whisper.dim,
            .bound = tiles ? Bound::kTilesBf16 : Bound::kMultiplyAdds};
      if (!run.wants(op.name)) continue;
      op.times = tiles ? time_tiles(run, whisper.dim, kAudioRows, kAudioRows)
                       : time_floats(run, whisper.dim);
      run.ops.push_back(std::move(op));
    }
  }
  // HTDemucs's transformer: 8 · 336 tokens of the spectrum and 1344 of the waveform.
  constexpr int kSpectral = 2688, kTemporal = 1344, kDim = 512;
  struct Shape {
    const char* name;
    int queries, keys;
  };
  for (const auto& [name, queries, keys] : {Shape{"self-attention", kSpectral, kSpectral},
                                            Shape{"cross-attention", kSpectral, kTemporal}}) {
    Op op{.name = std::string("htdemucs ") + name + " bfloat16",
          .shape = attention_shape(queries, keys, kDim / kHeadDim),
          .precision = "bfloat16",
          .operations = 4.0 * queries * keys * kDim,
          .bound = Bound::kTilesBf16};
    if (!run.executor.amx || !run.wants(op.name)) continue;
    op.times = time_tiles(run, kDim, queries, keys);
    run.ops.push_back(std::move(op));
  }
}

void bench_decoder_attention(OpsRun& run) {
  for (const WhisperShape& whisper : kWhisperShapes) {
    for (const bool cross : {true, false}) {
      for (const bool half : {false, true}) {
        const std::string precision = half ? "float16" : "float32";
        const std::string name = std::string(whisper.name) + " decoder " +
                                 (cross ? "cross" : "self") + "-attention " + precision;
        if (!run.wants(name)) continue;
        Op op = cross ? cross_attention(run, whisper.dim, half)
                      : self_attention(run, whisper.dim, half);
        op.name = name;
        op.shape = attention_shape(1, cross ? kAudioRows : kContext, whisper.dim / kHeadDim);
        op.precision = precision;
        op.operations = 4.0 * (cross ? kAudioRows : kContext) * whisper.dim;
        run.ops.push_back(std::move(op));
      }
    }
  }
}

}  // namespace runnel::apps
