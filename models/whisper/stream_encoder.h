// Whisper's encoder on a stream: rows become final chunk by chunk. See MODEL.md, "Streaming
// encoder".
#pragma once

#include "engine/activations.h"
#include "engine/aligned_vector.h"
#include "engine/executor.h"
#include "engine/page_buffer.h"
#include "engine/view.h"
#include "models/whisper/config.h"
#include "models/whisper/weights.h"

namespace runnel::models::whisper {

/// Whisper's scale of log10 mel where the rest of the window isn't known: a fixed floor.
/// out: as many rows as log10_mel has.
void scale_for_stream(MatrixView<const float> log10_mel, MatrixView<float> out) noexcept;

/// What one stream keeps between chunks. All memory is allocated by the constructor.
class StreamCache {
 public:
  explicit StreamCache(const Config& config);

  /// Ready for another utterance.
  void restart() noexcept;
  std::size_t bytes() const noexcept;

 private:
  friend class StreamEncoder;
  struct Progress {
    int frames = 0;    // pushed, with the silence of a flush
    int dropped = -2;  // mel_'s first frame; zeros before the first of the utterance
    int embedded = 0;  // rows that the convolutions made
    int first = 0;     // row of the next chunk
  };

  engine::PageBuffer mel_;   // [frames, mel_bins]: from `dropped` on
  engine::PageBuffer rows_;  // [rows, dim]: embedded ones, from `first` on
  engine::PageBuffer past_;  // [layers][heads]{keys, values}: pieces of `past` rows
  int bins_;
  Progress at_;
};

/// Scratch between the layers; serves all streams of a model, one at a time.
class StreamEncoder {
 public:
  StreamEncoder(const Config& config, const EncoderWeights& weights, engine::Precision precision,
                engine::Executor& executor);

  struct Rows {
    int first = 0;  // the first that is new or was made anew
    int count = 0;  // in all, of the utterance
    int final = 0;  // those before don't change any more
  };
  /// The utterance's next frames [n, mel_bins], scaled; with `last` what follows is silence, and a
  /// restart must come before the next push. Rows that are final, and provisional ones behind them
  /// (none of these with `last`), are written to out [audio_ctx, dim], at their places. Frames
  /// beyond 30 s are ignored.
  Rows push(MatrixView<const float> mel, bool last, StreamCache& cache,
            MatrixView<float> out) noexcept;
  std::size_t bytes() const noexcept;
  static engine::ScratchNeed scratch(const Config& config);

 private:
  int take(MatrixView<const float> mel, StreamCache& cache) const noexcept;
  void embed(StreamCache& cache) noexcept;
  int run_chunks(StreamCache& cache, MatrixView<float> out) noexcept;
  void attend(int layer, int chunks, StreamCache& cache) noexcept;
  void write_rows(int chunks, int first, MatrixView<float> out) noexcept;

  const Config& config_;
  const EncoderWeights& weights_;
  engine::Executor& executor_;
  const int most_chunks_;           // that run together
  engine::Activations conv1_in_;    // [2 · rows + 1, 3 · mel_bins]
  engine::PageBuffer stem_;         // [2 · rows + 1, dim]
  engine::Activations conv2_in_;    // [rows, 3 · dim]
  engine::PageBuffer embedded_;     // [rows, dim]
  engine::PageBuffer residual_;     // [chunks · (chunk + right), dim]
  engine::Activations normed_;      // likewise
  engine::PageBuffer qkv_;          // [.., 3 · dim]
  engine::Activations attended_;    // [.., dim]
  engine::Activations hidden_;      // [.., ffn]
  AlignedVector<float> silence_;    // [frames, mel_bins]
  engine::PageBuffer sink_pieces_;  // [layers][heads]{keys, values}
};

}  // namespace runnel::models::whisper
