// Whisper's decoder: one step for a few hypotheses, or the start of one in one go.
#pragma once

#include <span>
#include <vector>

#include "engine/activations.h"
#include "engine/executor.h"
#include "engine/page_buffer.h"
#include "engine/view.h"
#include "models/whisper/config.h"
#include "models/whisper/network.h"
#include "models/whisper/weights.h"

namespace runnel::models::whisper {

/// What one stream keeps between steps: the window's cross-attention keys and values, and the
/// self-attention rows of its hypotheses. Hypotheses share the rows that they have in common: each
/// has a list of the rows that are its past.
class DecoderCache {
 public:
  DecoderCache(const Config& config, const engine::ComputeConfig& compute, int max_hypotheses);

  std::size_t bytes() const noexcept;

  const int max_hypotheses;
  const bool half;           // IEEE half, else float
  const int capacity;        // rows: text_ctx · max_hypotheses
  engine::PageBuffer cross;  // [layers][heads]{keys [⌈audio_ctx/16⌉][dim][16], values [ctx][dim]}
  engine::PageBuffer self;                    // [layers][capacity]{keys [dim], values [dim]}
  std::vector<std::int32_t> rows, next_rows;  // [max_hypotheses, text_ctx]: each one's past
  int audio_rows;                             // that there are keys and values of
  int used = 0;                               // rows written
  int position = 0;                           // tokens of every hypothesis
  int hypotheses = 0;                         // 0: nothing has run

  std::size_t element() const noexcept { return half ? 2 : 4; }
};

/// Scratch of the decoder and its steps; one serves all streams of a model, one at a time.
class Decoder {
 public:
  /// Most rows of logits of one call.
  static constexpr int kLogitRows = engine::kFewRows;

  Decoder(const Config& config, const GenerationConfig& generation, const DecoderWeights& weights,
          const engine::ComputeConfig& compute, engine::Executor& executor);

  /// Keys and values of the cross-attention from encoder rows [n ≤ audio_ctx, dim], of which those
  /// before `first` are as they were.
  void attend_to(MatrixView<const float> encoder_rows, int first, DecoderCache& cache) noexcept;
  /// See Session. `logits`: [rows, vocab_size] are written. `alignment`: null, or
  /// [tokens][heads][audio_ctx].
  void prefill(std::span<const int> tokens, int first_logits, DecoderCache& cache,
               MatrixView<float> logits, float* alignment) noexcept;
  void step(std::span<const Step> steps, DecoderCache& cache, MatrixView<float> logits,
            float* alignment) noexcept;
  std::size_t bytes() const noexcept;
  static engine::ScratchNeed scratch(const Config& config);

 private:
  /// Activations for up to so many rows.
  struct Buffers {
    engine::PageBuffer residual;   // [rows, dim]
    engine::Activations normed;    // [rows, dim]
    engine::PageBuffer qkv;        // [rows, 3 · dim]; the cross-attention's queries too
    engine::Activations attended;  // [rows, dim]
    engine::PageBuffer heads;      // [rows, dim]: float results of attention, where strips follow
    engine::Activations hidden;    // [rows, ffn]
  };
  /// A row of the batch: what it may look back on.
  struct Past {
    const std::int32_t* rows;  // [n]; the last is its own
    int n;
  };

  Buffers make_buffers(int rows, engine::Activations::Format format) const;
  void embed(int token, int position, float* row) noexcept;
  void run_layers(Buffers& b, std::span<const Past> rows, DecoderCache& cache,
                  float* alignment) noexcept;
  void self_attention(const DecoderLayer& layer, int index, Buffers& b, std::span<const Past> rows,
                      DecoderCache& cache) noexcept;
  void cross_attention(const DecoderLayer& layer, int index, Buffers& b, int rows,
                       DecoderCache& cache, float* alignment) noexcept;
  void project(Buffers& b, int first, int rows, MatrixView<float> logits) noexcept;

  const Config& config_;
  const GenerationConfig& generation_;
  const DecoderWeights& weights_;
  engine::Executor& executor_;
  Buffers few_;                         // up to kFewRows rows, float
  Buffers many_;                        // up to text_ctx rows
  engine::Activations audio_;           // [audio_ctx, dim]: encoder rows for cross_kv
  engine::PageBuffer cross_kv_;         // [audio_ctx, 2 · dim]
  engine::Activations last_;            // [kLogitRows, dim]: normed rows whose logits are wanted
  std::vector<Past> pasts_;             // of a call's rows
  std::vector<std::int32_t> identity_;  // [text_ctx]
};

}  // namespace runnel::models::whisper
