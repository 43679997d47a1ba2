// Whisper's encoder: a window of log-mel to 1500 rows.
#pragma once

#include "engine/activations.h"
#include "engine/executor.h"
#include "engine/page_buffer.h"
#include "engine/view.h"
#include "models/whisper/config.h"
#include "models/whisper/weights.h"

namespace runnel::models::whisper {

/// Everything between the layers for one window. Nothing of it lives from window to window, so one
/// serves all streams of a model, one at a time.
class Encoder {
 public:
  Encoder(const Config& config, const EncoderWeights& weights, engine::Precision precision,
          engine::Executor& executor);

  /// mel: [≤ 2 · audio_ctx, mel_bins], the rest of the window zeros; out: [audio_ctx, dim].
  void run(MatrixView<const float> mel, MatrixView<float> out) noexcept;
  std::size_t bytes() const noexcept;
  static engine::ScratchNeed scratch(const Config& config);

 private:
  void stem(MatrixView<const float> mel) noexcept;
  void run_layers() noexcept;
  void run_layers_in_blocks() noexcept;
  void normalize_block(const engine::LayerNorm& norm, int first, int rows, int local) noexcept;
  void attend(const EncoderLayer& layer) noexcept;
  void attend_tiles(const EncoderLayer& layer) noexcept;
  void attend_floats(const EncoderLayer& layer) noexcept;

  const Config& config_;
  const EncoderWeights& weights_;
  engine::Executor& executor_;
  const bool on_tiles_;   // attention by AMX
  const bool in_blocks_;  // rows go from product to product in blocks that stay in a core's cache

  engine::PageBuffer mel_;          // [1 + 2 · audio_ctx + 1, mel_bins], zero rows at both ends
  engine::PageBuffer stem_;         // [1 + 2 · audio_ctx + 1, dim], likewise
  engine::Activations conv1_in_;    // [2 · audio_ctx, 3 · mel_bins]
  engine::Activations conv2_in_;    // [audio_ctx, 3 · dim]
  engine::PageBuffer residual_;     // [audio_ctx, dim]
  engine::Activations normed_;      // [audio_ctx, dim]
  engine::PageBuffer qkv_;          // [audio_ctx, 3 · dim] floats; not on tiles
  engine::Activations qkv_strips_;  // the same on tiles
  engine::PageBuffer tiles_;        // keys and values of each head, laid out; on tiles only
  engine::Activations attended_;    // [audio_ctx, dim]
  engine::Activations hidden_;      // [audio_ctx, ffn]
};

}  // namespace runnel::models::whisper
