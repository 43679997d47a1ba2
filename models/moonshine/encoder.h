// Moonshine's encoder: each frame through each layer once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/activations.h"
#include "engine/aligned_vector.h"
#include "engine/executor.h"
#include "engine/view.h"
#include "models/moonshine/encoder_weights.h"

namespace runnel::models::moonshine {

/// Frames that a row sees before and after itself.
struct Reach {
  int past = 0, future = 0;
};
Reach reach_of(Config::Window window, WindowSemantics semantics);
/// The layers' look-ahead together, in frames.
int look_ahead(const Config::Encoder& config, WindowSemantics semantics);

/// One stream's encoder. A layer computes queries, keys and values of a frame when it comes in, and
/// the rest when the last frame of its look-ahead is there; so layer by layer frames lag behind,
/// and what comes in together is done together. All memory is allocated by the constructor.
class Encoder {
 public:
  /// Up to `max_rows` frames come in at once. Keeps references.
  Encoder(const Config::Encoder& config, WindowSemantics semantics, const EncoderWeights& weights,
          engine::Precision precision, engine::Executor& executor, int max_rows);

  void restart() noexcept;
  /// Where the front end's next rows [max_rows, dim] go.
  MatrixView<float> input() noexcept;
  /// The first n rows of input() are new frames. `last`: nothing follows, so all frames are done
  /// with the look-ahead that there is; then restart. Returns the rows that are done, after the
  /// last norm; they live until the next call.
  MatrixView<const float> advance(int n, bool last) noexcept;
  /// Rows that one call returns at most.
  int max_outputs() const noexcept { return max_outputs_; }

  std::size_t bytes() const noexcept;
  std::int64_t operations() const noexcept { return operations_; }
  static engine::ScratchNeed scratch(const Config::Encoder& config);

 private:
  /// A layer's frames that are still of use, at places [0, end) of buffers that are moved up when
  /// they are full: the past window of the next frame to be done, and those that wait.
  struct LayerState {
    Reach reach;
    int end = 0;                 // frames there
    int next = 0;                // the first that isn't done
    AlignedVector<float> x{};    // [capacity, dim]: input; of frames that wait
    AlignedVector<float> qkv{};  // [capacity, 3 · inner]
    /// [inner, key_stride]: keys once more, a dimension's side by side, for the kernel.
    AlignedVector<float> keys{};
  };

  /// Places for n more frames' input.
  MatrixView<float> room(LayerState& state, int n) noexcept;
  void take(const EncoderLayer& layer, LayerState& state, int n) noexcept;
  /// The first n frames that wait, in place in state.x as far as the feed-forward's residual.
  void attend(const EncoderLayer& layer, LayerState& state, int n) noexcept;
  MatrixView<float> rows_of(LayerState& state, int first, int n) noexcept;

  const Config::Encoder& config_;
  const EncoderWeights& weights_;
  engine::Executor& executor_;
  const int inner_;  // heads · head_dim
  const int max_rows_, max_outputs_;
  int capacity_ = 0;
  std::ptrdiff_t key_stride_ = 0;
  std::vector<LayerState> states_;
  engine::Activations normed_;    // [max_outputs, dim]
  engine::Activations attended_;  // [max_outputs, inner]
  engine::Activations hidden_;    // [max_outputs, ffn]
  AlignedVector<float> out_;      // [max_outputs, dim]
  std::int64_t operations_ = 0;
};

}  // namespace runnel::models::moonshine
