// Whisper's encoder and decoder, on weights packed once and caches allocated up front.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "engine/compute.h"
#include "engine/view.h"
#include "models/whisper/checkpoint.h"

namespace runnel::models::whisper {

/// Immutable weights with what the checkpoint says besides; shared between sessions. Its thread
/// pool serves one session's step at a time; others wait for it.
class Model {
 public:
  /// Packs every tensor. Throws std::runtime_error naming a missing or misshapen tensor.
  Model(Checkpoint checkpoint, const engine::ComputeConfig& compute);
  ~Model();

  const std::string& label() const noexcept;
  bool random_weights() const noexcept;
  const Config& config() const noexcept;
  const GenerationConfig& generation() const noexcept;
  const Tokenizer& tokenizer() const noexcept;
  const engine::ComputeConfig& compute() const noexcept;
  int threads() const noexcept;
  std::size_t weight_bytes() const noexcept;
  /// What all sessions share besides: activations between layers.
  std::size_t scratch_bytes() const noexcept;

 private:
  friend class Session;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Frames of log10 mel [n ≤ 3000, mel_bins] as `encode` wants them, in out [3000, mel_bins]: scaled
/// to the window's maximum and filled up with silence; of a streaming model on a fixed scale and no
/// more than there are. Returns the frames to encode.
MatrixView<const float> window_for(const Config& config, MatrixView<const float> log10_mel,
                                   MatrixView<float> out) noexcept;

/// One row of a decoder step: `token` continues hypothesis `parent` of the call before.
struct Step {
  int parent = 0;
  int token = 0;
};

/// How long the parts of an encode took.
struct EncodeTimes {
  double encoder_ms = 0;
  double cross_kv_ms = 0;  // the decoder's cross-attention keys and values
};

/// The caches of one stream: a window's cross-attention keys and values, and the self-attention
/// caches of up to `max_hypotheses` that are decoded side by side. All memory is allocated by the
/// constructor; after it nothing allocates or throws. One thread at a time.
class Session {
 public:
  /// 1 ≤ max_hypotheses ≤ 8, or throws std::invalid_argument.
  explicit Session(std::shared_ptr<const Model> model, int max_hypotheses = 1);
  ~Session();
  Session(Session&&) noexcept;

  const Model& model() const noexcept;
  int max_hypotheses() const noexcept;
  std::size_t state_bytes() const noexcept;

  /// A window of scaled log-mel [frames, mel_bins], frames ≤ 3000, as `window_for` makes it. Runs
  /// the encoder and the cross-attention's keys and values.
  void encode(MatrixView<const float> mel) noexcept;
  /// A streaming model alone: forgets the audio. No decoding before there are encoder rows again.
  void restart_audio() noexcept;
  /// A streaming model alone: the frames that follow, scaled. `last`: silence is after them, and
  /// restart_audio or encode comes next.
  void encode_more(MatrixView<const float> mel, bool last) noexcept;
  /// Encoder rows after the last norm: [1500, dim] of the last encode; of a streaming model as many
  /// as there are, those at the end provisional until `last`.
  MatrixView<const float> encoder_rows() const noexcept;
  EncodeTimes last_encode() const noexcept;

  /// Forgets all hypotheses and runs `tokens` (1 ≤ n ≤ text_ctx) as the start of one. Returns the
  /// logits of the rows from `first_logits` on, at most 8: [n − first_logits, vocab_size].
  MatrixView<const float> prefill(std::span<const int> tokens, int first_logits) noexcept;
  /// One token for each hypothesis: row i of the result becomes hypothesis i of the next call. The
  /// first step after a prefill has parent 0 everywhere. 1 ≤ n ≤ max_hypotheses; the position must
  /// be below text_ctx. Returns logits [n, vocab_size], valid until the next call.
  MatrixView<const float> step(std::span<const Step> steps) noexcept;
  /// Tokens in every hypothesis so far.
  int position() const noexcept;

  /// Keep the alignment heads' cross-attention of the next calls (slower). The first time it
  /// allocates.
  void keep_alignment(bool keep);
  /// Softmax weights over the encoder rows, [alignment heads, rows], of row `row` of the last
  /// call (for prefill: of token `row`), scaled by nothing. Needs keep_alignment.
  MatrixView<const float> alignment(int row) const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace runnel::models::whisper
