// Moonshine's decoder: cross-attention memory that grows with the audio, tokens out of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/activations.h"
#include "engine/compute.h"
#include "engine/executor.h"
#include "engine/page_buffer.h"
#include "engine/view.h"
#include "models/moonshine/attention_peak.h"
#include "models/moonshine/beam_search.h"
#include "models/moonshine/config.h"
#include "models/moonshine/decoder_weights.h"
#include "models/moonshine/network.h"

namespace runnel::models::moonshine {

/// One stream's decoder: caches and scratch. All memory is allocated by the constructor; after it
/// nothing allocates or throws. The executor's owner sees to it that one stream at a time uses it.
class Decoder {
 public:
  /// Rows of one batch through the layers, and of logits that are kept at a time.
  static constexpr int kBatchRows = 64;
  static constexpr int kLogitRows = 32;
  /// Frames that are appended in one go.
  static constexpr int kAppendRows = 32;

  /// `max_frames` (at most the position table's) of audio, `max_tokens` (at most the decoder's
  /// positions) of a hypothesis, `beams` (at most BeamSearch::kMostBeams) of a search, 1: greedy;
  /// throws std::invalid_argument for others. The executor's scratch must be
  /// scratch(config, max_frames) or more. Keeps references.
  Decoder(const Config& config, const DecoderWeights& weights, const engine::ComputeConfig& compute,
          engine::Executor& executor, int max_frames, int max_tokens, int beams = 1);

  /// Forgets all frames.
  void restart() noexcept;
  /// The next encoder rows [n, encoder dim], after the encoder's last norm: adapter, then keys and
  /// values of every layer, once a frame. Rows beyond max_frames are not taken; returns how many
  /// were. A row's keys and values depend on it and its position alone (in float32: rounding
  /// apart), not on how the rows are cut.
  int append(MatrixView<const float> encoder_rows) noexcept;
  /// Frames appended since the restart.
  int frames() const noexcept { return frames_; }

  /// See Stream::decode (models/moonshine/network.h).
  Pass decode(std::span<const int> draft, int fixed, int limit,
              const TokenBias* bias = nullptr) noexcept;

  std::size_t bytes() const noexcept;
  static engine::ScratchNeed scratch(const Config& config, int max_frames);
  /// Multiply-adds since construction.
  std::int64_t operations() const noexcept { return operations_; }

 private:
  /// A token on its way through the layers.
  struct Row {
    int token;
    int position;
    int slot;            // of self_, for its keys and values
    const int* context;  // [position + 1]: the slots that it attends to, its own the last
  };
  /// Activations for up to so many rows.
  struct Buffers {
    engine::PageBuffer residual;   // [rows, dim]
    engine::Activations normed;    // [rows, dim]
    engine::PageBuffer wide;       // [rows, 3 · attn or 2 · ffn]: queries, keys, values; fc1's
    engine::Activations attended;  // [rows, attn]
    engine::PageBuffer heads;      // [rows, attn]: float results of attention, where strips follow
    engine::Activations hidden;    // [rows, ffn]
    engine::Activations last;      // [rows, dim]: what the head reads
  };

  Buffers make_buffers(int rows, engine::Activations::Format format) const;
  /// Keys and values of rows [0, n) of cross_kv_ for frames from `first` on.
  void remember(int first, int n) noexcept;
  /// Inputs from the draft: returns how many of its tokens may be heeded.
  int take_draft(std::span<const int> draft, int limit) noexcept;
  Pass decode_greedily(int drafted, int fixed, int limit, const TokenBias* bias) noexcept;
  Pass search(int drafted, int fixed, int limit, const TokenBias* bias) noexcept;
  /// Of the first so many tokens.
  Pass pass_of(int tokens) const noexcept;
  /// Runs inputs_[first, first + n) through the layers; their self-attention rows are kept.
  void run_inputs(Buffers& b, int first, int n) noexcept;
  void run_layers(Buffers& b, std::span<const Row> rows) noexcept;
  void self_attention(const DecoderLayer& layer, int index, Buffers& b,
                      std::span<const Row> rows) noexcept;
  void cross_attention(const DecoderLayer& layer, int index, Buffers& b, int n) noexcept;
  void feed_forward(const DecoderLayer& layer, Buffers& b, int n) noexcept;
  /// Logits of rows [row, row + n) of the last run.
  void project(Buffers& b, int row, int n) noexcept;
  /// The token that follows position `position`, whose logits are row `row` of logits_; notes its
  /// log-probability. `taken`: the token is given, or −1.
  int choose(int position, int row, int taken, const TokenBias* bias) noexcept;
  void propose(int hypothesis, int row, int buffer_row, std::span<const int> said,
               const TokenBias* bias) noexcept;
  std::span<const float> biased(const float* logits, std::span<const int> said,
                                const TokenBias& bias) noexcept;
  /// Where the attention of a row of the last run is centred.
  float centre_of(int row) noexcept;

  int attn() const noexcept { return config_.decoder.heads * config_.decoder.head_dim; }
  std::size_t element() const noexcept { return half_ ? 2 : 4; }
  std::byte* cross_keys(int layer, int head) noexcept;
  std::byte* cross_values(int layer, int head) noexcept;

  const Config& config_;
  const DecoderWeights& weights_;
  engine::Executor& executor_;
  const bool half_;  // caches in IEEE half, else float
  const int max_frames_, max_tokens_;
  const std::size_t slots_;  // of self_

  // Caches.
  const std::size_t keys_bytes_, values_bytes_;  // of a head's cross-attention memory
  engine::PageBuffer cross_;  // [layers][heads]{keys [⌈max_frames / 16⌉][head_dim][16], values}
  engine::PageBuffer self_;   // [layers][slots]{keys [attn], values [attn]}
  int frames_ = 0;

  // Of an append.
  engine::PageBuffer placed_;    // [kAppendRows, encoder dim]: rows with their positions
  engine::Activations adapted_;  // [kAppendRows, encoder dim]; where there is an adapter
  engine::Activations memory_;   // [kAppendRows, dim]
  engine::PageBuffer cross_kv_;  // [kAppendRows, layers · 2 · attn]

  // Of a decoding.
  AlignedVector<float> rope_;  // [max_tokens][pairs]{cosine, sine}
  std::vector<int> identity_;  // [max_tokens]
  std::vector<Row> rows_;      // [kBatchRows]
  BeamSearch search_;
  Buffers few_;   // up to kFewRows rows, float
  Buffers many_;  // up to kBatchRows rows
  std::ptrdiff_t logits_stride_;
  engine::PageBuffer logits_;         // [kLogitRows, logits_stride]
  engine::PageBuffer biased_;         // [logits_stride]
  int peak_layer_;                    // the first layer whose heads tell where a token was spoken
  std::vector<AttentionPeak> peaks_;  // [kBatchRows][layers from peak_layer_ on][heads]
  std::vector<int> inputs_;           // [max_tokens + 1]: the start token, then the hypothesis
  std::vector<float> logprobs_;       // [max_tokens]
  std::vector<float> centres_;        // [max_tokens]: see Pass::frames
  float end_logprob_ = 0;
  std::int64_t operations_ = 0;
};

}  // namespace runnel::models::moonshine
