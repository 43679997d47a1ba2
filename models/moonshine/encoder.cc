#include "models/moonshine/encoder.h"

#include <algorithm>
#include <cmath>

#include "engine/linear.h"

namespace runnel::models::moonshine {
namespace {

using engine::Activation;
using engine::Activations;

constexpr int kSlack = 16;        // frames between two moves of a layer's buffers
constexpr int kRowsForHeads = 8;  // fewer rows are attended by one thread

/// Scratch of AttentionKernels::window.
std::size_t window_weights(Reach reach) {
  return std::size_t(reach.past + 1 + reach.future + engine::kWindowPadding);
}

}  // namespace

Reach reach_of(Config::Window window, WindowSemantics semantics) {
  const int own = semantics == WindowSemantics::kStrict ? 1 : 0;
  return {.past = std::max(0, window.left - own), .future = std::max(0, window.right - own)};
}

int look_ahead(const Config::Encoder& config, WindowSemantics semantics) {
  int frames = 0;
  for (const Config::Window& window : config.windows) frames += reach_of(window, semantics).future;
  return frames;
}

Encoder::Encoder(const Config::Encoder& c, WindowSemantics semantics, const EncoderWeights& weights,
                 engine::Precision precision, engine::Executor& executor, int max_rows)
    : config_(c),
      weights_(weights),
      executor_(executor),
      inner_(c.heads * c.head_dim),
      max_rows_(max_rows),
      max_outputs_(max_rows + look_ahead(c, semantics)),
      out_(std::size_t(max_outputs_) * std::size_t(c.dim)) {
  const Activations::Format format = Activations::format_of(executor, precision);
  normed_ = Activations(max_outputs_, c.dim, format);
  attended_ = Activations(max_outputs_, inner_, format);
  hidden_ = Activations(max_outputs_, c.ffn, format);
  Reach widest;
  for (const Config::Window& window : c.windows) {
    const Reach reach = reach_of(window, semantics);
    widest = {std::max(widest.past, reach.past), std::max(widest.future, reach.future)};
  }
  capacity_ = widest.past + widest.future + max_outputs_ + kSlack;
  // An odd number of cache lines: columns of keys then don't meet in a few sets of the cache.
  key_stride_ = ((capacity_ + engine::kWindowPadding + 15) / 16 | 1) * 16;
  for (const Config::Window& window : c.windows) {
    LayerState state{.reach = reach_of(window, semantics)};
    state.x.resize(std::size_t(capacity_) * std::size_t(c.dim));
    state.qkv.resize(std::size_t(capacity_) * 3 * std::size_t(inner_));
    state.keys.resize(std::size_t(inner_) * std::size_t(key_stride_));
    states_.push_back(std::move(state));
  }
}

void Encoder::restart() noexcept {
  for (LayerState& state : states_) state.end = state.next = 0;
}

MatrixView<float> Encoder::rows_of(LayerState& state, int first, int n) noexcept {
  return {state.x.data() + std::ptrdiff_t(first) * config_.dim, n, config_.dim, config_.dim};
}

MatrixView<float> Encoder::room(LayerState& state, int n) noexcept {
  if (state.end + n > capacity_) {
    const int first = std::max(0, state.next - state.reach.past);  // what is still of use
    const auto move_up = [](auto base, std::ptrdiff_t from, std::ptrdiff_t to, std::ptrdiff_t at) {
      std::copy(base + from, base + to, base + at);
    };
    const std::ptrdiff_t wide = 3 * std::ptrdiff_t(inner_), dim = config_.dim;
    move_up(state.x.begin(), state.next * dim, state.end * dim, (state.next - first) * dim);
    move_up(state.qkv.begin(), first * wide, state.end * wide, 0);
    for (int d = 0; d < inner_; ++d) {
      move_up(state.keys.begin() + d * key_stride_, first, state.end, 0);
    }
    state.next -= first;
    state.end -= first;
  }
  return rows_of(state, state.end, n);
}

MatrixView<float> Encoder::input() noexcept { return room(states_.front(), max_rows_); }

MatrixView<const float> Encoder::advance(int n, bool last) noexcept {
  const int dim = config_.dim;
  const int layers = int(states_.size());
  for (int l = 0; l < layers; ++l) {
    const EncoderLayer& layer = weights_.layers[std::size_t(l)];
    LayerState& state = states_[std::size_t(l)];
    if (n > 0) take(layer, state, n);
    n = std::max(0, state.end - state.next - (last ? 0 : state.reach.future));
    if (n == 0) {
      if (last) continue;
      return {out_.data(), 0, dim, dim};
    }
    attend(layer, state, n);
    const MatrixView<float> x = rows_of(state, state.next, n);
    engine::normalize(executor_, layer.ffn_norm, x, normed_);
    engine::multiply(executor_, layer.fc1, normed_, n, hidden_, {.activation = Activation::kGelu});
    const MatrixView<float> y = l + 1 < layers ? room(states_[std::size_t(l) + 1], n)
                                               : MatrixView<float>{out_.data(), n, dim, dim};
    engine::multiply(executor_, layer.fc2, hidden_, y, {.residual = x});
    state.next += n;
    operations_ += std::int64_t(n) * dim * (inner_ + 2 * config_.ffn);
  }
  for (int r = 0; r < n; ++r) {
    float* row = out_.data() + std::ptrdiff_t(r) * dim;
    executor_.rows.layer_norm(row, weights_.norm.gamma.data(), weights_.norm.beta.data(),
                              weights_.norm.epsilon, dim, row);
  }
  return {out_.data(), n, dim, dim};
}

void Encoder::take(const EncoderLayer& layer, LayerState& state, int n) noexcept {
  const std::ptrdiff_t wide = 3 * std::ptrdiff_t(inner_);
  engine::normalize(executor_, layer.attention_norm, rows_of(state, state.end, n), normed_);
  float* qkv = state.qkv.data() + state.end * wide;
  engine::multiply(executor_, layer.qkv, normed_, MatrixView<float>{qkv, n, 3 * inner_, wide});
  float* keys = state.keys.data() + state.end;
  for (int d = 0; d < inner_; ++d) {
    const float* from = qkv + inner_ + d;
    for (int r = 0; r < n; ++r) keys[d * key_stride_ + r] = from[r * wide];
  }
  state.end += n;
  operations_ += std::int64_t(n) * config_.dim * 3 * inner_;
}

void Encoder::attend(const EncoderLayer& layer, LayerState& state, int n) noexcept {
  const std::ptrdiff_t wide = 3 * std::ptrdiff_t(inner_);
  const int dim = config_.head_dim, first = state.next;
  // The result takes the queries' place.
  float* qkv = state.qkv.data();
  float* queries = qkv + first * wide;
  const auto attend_heads = [&](int from, int to, int thread) {
    for (int head = from; head < to; ++head) {
      const int column = head * dim;
      const engine::AttendWindow window{.keys = state.keys.data() + column * key_stride_,
                                        .key_stride = key_stride_,
                                        .values = qkv + 2 * inner_ + column,
                                        .value_stride = wide,
                                        .rows = state.end,
                                        .past = state.reach.past,
                                        .future = state.reach.future};
      executor_.attention.window(
          queries + column, wide, first, n, window, dim, 1.0f / std::sqrt(float(dim)),
          executor_.scratch<float>(thread, window_weights(state.reach)), queries + column, wide);
    }
  };
  if (n < kRowsForHeads) {
    attend_heads(0, config_.heads, 0);
  } else {
    executor_.pool.run(config_.heads,
                       [&](int head, int thread) { attend_heads(head, head + 1, thread); });
  }
  for (int t = first; t < first + n; ++t) {
    const int seen =
        std::min(state.end - 1, t + state.reach.future) - std::max(0, t - state.reach.past) + 1;
    operations_ += 2 * std::int64_t(seen) * inner_;
  }
  engine::pack(executor_, MatrixView<const float>{queries, n, inner_, wide}, attended_);
  const MatrixView<float> x = rows_of(state, first, n);
  engine::multiply(executor_, layer.out, attended_, x, {.residual = x});
}

std::size_t Encoder::bytes() const noexcept {
  std::size_t floats = out_.size();
  for (const LayerState& state : states_) {
    floats += state.x.size() + state.qkv.size() + state.keys.size();
  }
  return floats * sizeof(float) + normed_.bytes() + attended_.bytes() + hidden_.bytes();
}

engine::ScratchNeed Encoder::scratch(const Config::Encoder& c) {
  engine::ScratchNeed need = engine::linear_scratch({c.dim, c.heads * c.head_dim, c.ffn});
  for (const Config::Window& window : c.windows) {
    // The wider of the two semantics.
    const Reach reach = reach_of(window, WindowSemantics::kInclusive);
    need = need | engine::ScratchNeed::of<float>(window_weights(reach));
  }
  return need;
}

}  // namespace runnel::models::moonshine
