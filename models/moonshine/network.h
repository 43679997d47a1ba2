// Moonshine Streaming's encoder and decoder, truly incremental: each sample, frame and layer once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "engine/compute.h"
#include "engine/view.h"
#include "models/moonshine/checkpoint.h"

namespace runnel::models::moonshine {

/// Immutable weights; shared between streams. Its thread pool serves one stream's call at a time;
/// others wait for it. With compute.threads 1 there is no pool, and streams on different threads
/// don't wait for each other.
class Model {
 public:
  /// Packs every tensor. Throws std::runtime_error naming a missing or misshapen tensor.
  Model(Checkpoint checkpoint, const engine::ComputeConfig& compute,
        WindowSemantics windows = WindowSemantics::kStrict);
  ~Model();

  const std::string& label() const noexcept;
  bool random_weights() const noexcept;
  /// What was asked for, with the threads counted and "auto" made this model's own.
  const engine::ComputeConfig& compute() const noexcept;
  const Config& config() const noexcept;
  const Tokenizer& tokenizer() const noexcept;
  WindowSemantics windows() const noexcept;
  /// Samples after a frame's first one that must have come before the frame is final: front end and
  /// the layers' look-ahead together.
  int latency_samples() const noexcept;
  std::size_t weight_bytes() const noexcept;

 private:
  friend class Stream;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Added to the scores of what may come next (hotwords). Owned by the caller.
class TokenBias {
 public:
  virtual ~TokenBias() = default;
  /// Changes logits [vocab_size] of the token that follows `tokens`. Real-time safe.
  virtual void apply(std::span<const int> tokens, std::span<float> logits) const noexcept = 0;
};

/// What a decoding pass heard; views live until the next call.
struct Pass {
  std::span<const int> tokens;      // without start and end
  std::span<const float> logprobs;  // of each
  std::span<const float> frames;    // where each token's cross-attention is centred, in frames
  int confirmed = 0;                // so many of the draft's tokens were kept
  bool ended = false;               // the end token came; else the limit stopped it
  float end_logprob = 0;            // of the end token, if ended
  int decoder_steps = 0;            // calls of the decoder: the draft's batch, then one a token
};

struct StreamOptions {
  double max_seconds = 40;  // of audio between two restarts; at most max_frames / 50
  int max_tokens = 448;     // of one hypothesis; at most the decoder's positions
  int max_chunk = 16000;    // samples of one push
  int beams = 0;            // of decoding, 1 to 8; 1: greedy; 0: what the checkpoint says
};

/// One utterance after another. All memory is allocated by the constructor; after it nothing
/// allocates or throws. One thread at a time.
///
///   push ─► front end ─► encoder layers, each with its window's K/V ring ─► adapter
///        ─► cross-attention K/V of every decoder layer, appended once a frame;   decode(draft)
class Stream {
 public:
  /// Throws std::invalid_argument for options out of range.
  Stream(std::shared_ptr<const Model> model, const StreamOptions& options = {});
  ~Stream();
  Stream(Stream&&) noexcept;

  const Model& model() const noexcept;
  std::size_t state_bytes() const noexcept;

  /// A new utterance: as if nothing had been heard.
  void restart() noexcept;
  /// The next samples, 16 kHz; 1 ≤ n ≤ max_chunk. Samples after the utterance is full (max_seconds)
  /// or flushed are not taken; returns how many were.
  int push(std::span<const float> samples) noexcept;
  /// No more audio of this utterance: the last samples are filled up with zeros to a frame (a frame
  /// that is not whole doesn't count, as in the reference), and look-ahead that never comes is
  /// left out of the windows.
  void flush() noexcept;
  /// Encoder frames that are final, 20 ms each, since the restart.
  int frames() const noexcept;
  /// Their rows after the encoder's last norm, [n, encoder dim], of the last push or flush only.
  MatrixView<const float> new_rows() const noexcept;

  /// Decoding over all frames that are final, until the end token, or `limit` tokens. `draft`: the
  /// hypothesis so far, of which the first `fixed` tokens are taken as they are. Greedily: the rest
  /// of it is verified as one batch, and decoding goes on from the prefix that is confirmed. With
  /// beams: a search from the first token on that is neither fixed nor sure (probability 80 %). No
  /// frames: no tokens.
  Pass decode(std::span<const int> draft, int fixed, int limit,
              const TokenBias* bias = nullptr) noexcept;

  /// Multiply-adds done since construction, for the accounts in docs/speed.md.
  std::int64_t encoder_operations() const noexcept;
  std::int64_t decoder_operations() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace runnel::models::moonshine
