// Moonshine's decoder: cross-attention memory that grows with the audio, greedy tokens out of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/compute.h"
#include "engine/executor.h"
#include "engine/view.h"
#include "models/moonshine/config.h"
#include "models/moonshine/decoder_weights.h"
#include "models/moonshine/network.h"

namespace runnel::models::moonshine {

/// One stream's decoder: caches and scratch. All memory is allocated by the constructor; after it
/// nothing allocates or throws. The executor's owner sees to it that one stream at a time uses it.
class Decoder {
 public:
  /// `max_frames` (at most the position table's) of audio and `max_tokens` (at most the decoder's
  /// positions) of a hypothesis; throws std::invalid_argument for others. The executor's scratch
  /// must be decoder_scratch_bytes(config, max_frames) or more. Keeps references.
  Decoder(const Config& config, const DecoderWeights& weights, const engine::ComputeConfig& compute,
          engine::Executor& executor, int max_frames, int max_tokens);

  /// Forgets all frames.
  void restart() noexcept;
  /// The next encoder rows [n, encoder dim], after the encoder's last norm: adapter, then keys and
  /// values of every layer, once a frame. Rows beyond max_frames are not taken; returns how many
  /// were. The values depend on a row and its position alone, not on how the rows are cut.
  int append(MatrixView<const float> encoder_rows) noexcept;
  /// Frames appended since the restart.
  int frames() const noexcept { return frames_; }

  /// See Stream::decode (models/moonshine/network.h).
  Pass decode(std::span<const int> draft, int fixed, int limit,
              const TokenBias* bias = nullptr) noexcept;

  std::size_t bytes() const noexcept;
  /// Multiply-adds since construction.
  std::int64_t operations() const noexcept { return operations_; }

 private:
  int frames_ = 0;
  std::int64_t operations_ = 0;
};

/// Scratch of each thread.
std::size_t decoder_scratch_bytes(const Config& config, int max_frames);

}  // namespace runnel::models::moonshine
