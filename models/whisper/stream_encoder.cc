#include "models/whisper/stream_encoder.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "engine/linear.h"

namespace runnel::models::whisper {
namespace {

using engine::Activation;
using engine::Activations;
using engine::AttendPiece;

constexpr float kFloor = -6.5f;                   // log10 of power; what speech is heard above
constexpr float kSilence = -10.0f;                // of zeros
constexpr int kMostRows = 448;                    // that run together
constexpr int kLeastMissing = 100;                // rows that the sinks stand for
constexpr int kLeastRows = engine::kFewRows + 1;  // of a product: one kernel for all

float scaled(float log10_mel) { return (std::max(log10_mel, kFloor) + 4.0f) / 4.0f; }

float* floats(engine::PageBuffer& buffer) { return reinterpret_cast<float*>(buffer.data()); }

engine::PageBuffer float_buffer(std::size_t rows, int cols) {
  return engine::PageBuffer(rows * std::size_t(cols) * sizeof(float));
}

int head_dim(const Config& c) { return c.dim / c.encoder_heads; }
int chunk_rows(const Config& c) { return c.stream.chunk + c.stream.right; }
int most_chunks(const Config& c) { return std::max(1, kMostRows / chunk_rows(c)); }
/// Embedded rows that wait for their chunk, at most.
int waiting_rows(const Config& c) { return most_chunks(c) * c.stream.chunk + c.stream.right; }
/// Rows of an utterance, in whole chunks.
int longest(const Config& c) {
  return (c.audio_ctx + c.stream.chunk - 1) / c.stream.chunk * c.stream.chunk;
}
/// Row r is made of frames 2r − 2 … 2r + 2. A product's padding reads on.
int waiting_frames(const Config& c) { return 2 * std::max(waiting_rows(c), kLeastRows) + 8; }
/// After the last frame: the chunk's rest, the rows after it, and a frame that they see.
int silent_frames(const Config& c) { return 2 * chunk_rows(c) + 1; }

/// Floats of a piece of n rows, a whole number of cache lines.
std::size_t piece_floats(const Config& c, int n) {
  const int dim = head_dim(c);
  return (engine::piece_keys(n, dim) + engine::piece_values(n, dim) + 15) / 16 * 16;
}

float* piece_at(const Config& c, float* pieces, int n, int layer, int head) {
  return pieces + std::size_t(layer * c.encoder_heads + head) * piece_floats(c, n);
}
AttendPiece piece_of(const Config& c, const float* piece, int room, int n, float bias = 0) {
  return {
      .keys = piece, .values = piece + engine::piece_keys(room, head_dim(c)), .n = n, .bias = bias};
}
/// One head's part of a row, to place `at` of a piece with room for `room`.
void put(const Config& c, const float* key, const float* value, int at, int room, float* piece) {
  const int dim = head_dim(c);
  engine::put_in_piece(key, value, at, dim, piece, piece + engine::piece_keys(room, dim));
}

}  // namespace

void scale_for_stream(MatrixView<const float> log10_mel, MatrixView<float> out) noexcept {
  for (int r = 0; r < log10_mel.rows; ++r) {
    std::transform(log10_mel.row(r).begin(), log10_mel.row(r).end(), out.row(r).begin(), scaled);
  }
}

StreamCache::StreamCache(const Config& c)
    : mel_(float_buffer(std::size_t(waiting_frames(c)), c.mel_bins)),
      rows_(float_buffer(std::size_t(waiting_rows(c)), c.dim)),
      past_(std::size_t(c.encoder_layers * c.encoder_heads) * piece_floats(c, c.stream.past) *
            sizeof(float)),
      bins_(c.mel_bins) {
  restart();
}

void StreamCache::restart() noexcept {
  at_ = {};
  std::fill_n(floats(mel_), std::size_t(-at_.dropped) * std::size_t(bins_), 0.0f);
}

std::size_t StreamCache::bytes() const noexcept {
  return mel_.size() + rows_.size() + past_.size();
}

StreamEncoder::StreamEncoder(const Config& c, const EncoderWeights& weights,
                             engine::Precision precision, engine::Executor& executor)
    : config_(c), weights_(weights), executor_(executor), most_chunks_(most_chunks(c)) {
  const Activations::Format format = Activations::format_of(executor, precision);
  const int waiting = std::max(waiting_rows(c), kLeastRows);
  conv1_in_ = Activations(2 * waiting + 1, 3 * c.mel_bins, format);
  stem_ = float_buffer(2 * std::size_t(waiting) + 1, c.dim);
  conv2_in_ = Activations(waiting, 3 * c.dim, format);
  embedded_ = float_buffer(std::size_t(waiting), c.dim);
  const int rows = std::max(most_chunks_ * chunk_rows(c), kLeastRows);
  residual_ = float_buffer(std::size_t(rows), c.dim);
  normed_ = Activations(rows, c.dim, format);
  qkv_ = float_buffer(std::size_t(rows), 3 * c.dim);
  attended_ = Activations(rows, c.dim, format);
  hidden_ = Activations(rows, c.encoder_ffn, format);
  silence_.assign(std::size_t(silent_frames(c)) * std::size_t(c.mel_bins), scaled(kSilence));
  const int sinks = c.stream.sinks;
  sink_pieces_ = engine::PageBuffer(std::size_t(c.encoder_layers * c.encoder_heads) *
                                    piece_floats(c, sinks) * sizeof(float));
  for (int layer = 0; layer < c.encoder_layers; ++layer) {
    const float* keys = weights.sinks.data() + std::size_t(2 * layer) * sinks * c.dim;
    const float* values = keys + std::size_t(sinks) * c.dim;
    for (int head = 0; head < c.encoder_heads; ++head) {
      const int column = head * head_dim(c);
      for (int i = 0; i < sinks; ++i) {
        put(c, keys + i * c.dim + column, values + i * c.dim + column, i, sinks,
            piece_at(c, floats(sink_pieces_), sinks, layer, head));
      }
    }
  }
}

StreamEncoder::Rows StreamEncoder::push(MatrixView<const float> mel, bool last, StreamCache& cache,
                                        MatrixView<float> out) noexcept {
  const Config& c = config_;
  StreamCache::Progress& at = cache.at_;
  const int begin = at.first, most = longest(c);
  const auto advance = [&](MatrixView<const float> frames) {
    for (int taken = 0; at.first < most;) {
      const int more = take(
          {frames.data + taken * frames.stride, frames.rows - taken, frames.cols, frames.stride},
          cache);
      taken += more;
      embed(cache);
      if (run_chunks(cache, out) == 0 && more == 0) break;
    }
  };
  advance(mel);
  if (!last) {
    const int count = at.first == 0 ? 0 : std::min(at.first + c.stream.right, c.audio_ctx);
    return {begin, count, std::min(at.first, c.audio_ctx)};
  }
  const int rows = std::clamp((at.frames + 1) / 2, 1, c.audio_ctx);
  const int whole = (rows + c.stream.chunk - 1) / c.stream.chunk * c.stream.chunk;
  const int silent = std::max(0, 2 * (whole + c.stream.right) + 1 - at.frames);
  advance({silence_.data(), silent, c.mel_bins, c.mel_bins});
  assert(at.first == whole);
  return {begin, rows, rows};
}

/// Returns for how many of the frames there was room; those beyond the longest utterance are
/// counted, too.
int StreamEncoder::take(MatrixView<const float> mel, StreamCache& cache) const noexcept {
  const Config& c = config_;
  StreamCache::Progress& at = cache.at_;
  const int room = waiting_frames(c) - (at.frames - at.dropped);
  const int left = 2 * (longest(c) + c.stream.right) + 1 - at.frames;
  const int n = std::min({mel.rows, room, left});
  for (int i = 0; i < n; ++i) {
    std::copy_n(mel.data + i * mel.stride, c.mel_bins,
                floats(cache.mel_) + std::ptrdiff_t(at.frames++ - at.dropped) * c.mel_bins);
  }
  return n == left ? mel.rows : n;
}

/// The convolutions and positions of the rows whose frames are there, as far as there is room.
void StreamEncoder::embed(StreamCache& cache) noexcept {
  const Config& c = config_;
  StreamCache::Progress& at = cache.at_;
  const int room = waiting_rows(c) - (at.embedded - at.first);
  const int n = std::min((at.frames - 1) / 2 - at.embedded, room);
  if (n <= 0) return;
  const int rows = std::max(n, kLeastRows), conv1 = 2 * rows + 1;
  const float* const mel = floats(cache.mel_) + (2 * at.embedded - 2 - at.dropped) * c.mel_bins;
  engine::pack(executor_, {mel, conv1, 3 * c.mel_bins, c.mel_bins}, conv1_in_);
  engine::multiply(executor_, weights_.conv1, conv1_in_,
                   MatrixView<float>{floats(stem_), conv1, c.dim, c.dim},
                   {.activation = Activation::kGelu, .steady = true});
  if (at.embedded == 0) std::fill_n(floats(stem_), c.dim, 0.0f);  // before the first frame
  engine::pack(executor_, {floats(stem_), rows, 3 * c.dim, 2 * c.dim}, conv2_in_);
  engine::multiply(executor_, weights_.conv2, conv2_in_,
                   MatrixView<float>{floats(embedded_), rows, c.dim, c.dim},
                   {.activation = Activation::kGelu, .steady = true});
  for (int i = 0; i < n; ++i, ++at.embedded) {
    // Rows beyond 30 s are silence after the last ones: they have no position of their own.
    const int position = std::min(at.embedded, c.audio_ctx - 1);
    executor_.rows.add(floats(embedded_) + std::ptrdiff_t(i) * c.dim,
                       weights_.positions.data() + std::ptrdiff_t(position) * c.dim, c.dim,
                       floats(cache.rows_) + std::ptrdiff_t(at.embedded - at.first) * c.dim);
  }
  const int begin = 2 * at.embedded - 2;  // the first frame that is still needed
  float* const frames = floats(cache.mel_);
  std::copy(frames + std::ptrdiff_t(begin - at.dropped) * c.mel_bins,
            frames + std::ptrdiff_t(at.frames - at.dropped) * c.mel_bins, frames);
  at.dropped = begin;
}

/// All chunks whose rows are there, layer by layer, so that weights are read once. Returns how
/// many.
int StreamEncoder::run_chunks(StreamCache& cache, MatrixView<float> out) noexcept {
  const Config& c = config_;
  StreamCache::Progress& at = cache.at_;
  const int chunk = c.stream.chunk, each = chunk_rows(c);
  const int chunks = std::min(most_chunks_, (at.embedded - at.first - c.stream.right) / chunk);
  if (chunks <= 0) return 0;
  const int rows = std::max(chunks * each, kLeastRows);
  const MatrixView<float> x{floats(residual_), rows, c.dim, c.dim};
  for (int i = 0; i < chunks; ++i) {
    std::copy_n(floats(cache.rows_) + std::ptrdiff_t(i * chunk) * c.dim, each * c.dim,
                x.data + std::ptrdiff_t(i * each) * c.dim);
  }
  std::fill(x.data + std::ptrdiff_t(chunks * each) * c.dim, x.data + std::ptrdiff_t(rows) * c.dim,
            0.0f);
  for (int i = 0; i < c.encoder_layers; ++i) {
    const EncoderLayer& layer = weights_.layers[std::size_t(i)];
    engine::normalize(executor_, layer.attention_norm, x, normed_);
    engine::multiply(executor_, layer.qkv, normed_,
                     MatrixView<float>{floats(qkv_), rows, 3 * c.dim, 3 * c.dim}, {.steady = true});
    attend(i, chunks, cache);
    const MatrixView<const float> attended{floats(qkv_), rows, c.dim, 3 * c.dim};
    engine::pack(executor_, attended, attended_);
    engine::multiply(executor_, layer.out, attended_, x, {.residual = x, .steady = true});
    engine::normalize(executor_, layer.ffn_norm, x, normed_);
    engine::multiply(executor_, layer.fc1, normed_, rows, hidden_,
                     {.activation = Activation::kGelu, .steady = true});
    engine::multiply(executor_, layer.fc2, hidden_, x, {.residual = x, .steady = true});
  }
  write_rows(chunks, at.first, out);
  at.first += chunks * chunk;
  float* const waiting = floats(cache.rows_);
  std::copy(waiting + std::ptrdiff_t(chunks * chunk) * c.dim,
            waiting + std::ptrdiff_t(at.embedded - at.first + chunks * chunk) * c.dim, waiting);
  return chunks;
}

/// Results take the queries' place.
void StreamEncoder::attend(int layer, int chunks, StreamCache& cache) noexcept {
  const Config& c = config_;
  const auto [chunk, past, right, sinks] = c.stream;
  const int dim = head_dim(c), each = chunk + right, first = cache.at_.first;
  const std::ptrdiff_t stride = 3 * c.dim;
  const std::size_t own_floats = piece_floats(c, each);
  executor_.pool.run(c.encoder_heads, [&](int head, int thread) {
    float* const own = executor_.scratch<float>(
        thread, own_floats + engine::pieces_scratch(past + each + sinks, dim));
    std::fill_n(own, own_floats, 0.0f);
    float* const before = piece_at(c, floats(cache.past_), past, layer, head);
    const float* const silence = piece_at(c, floats(sink_pieces_), sinks, layer, head);
    for (int i = 0; i < chunks; ++i) {
      const int at = first + i * chunk;
      float* const q = floats(qkv_) + i * each * stride + head * dim;
      for (int r = 0; r < each; ++r) {
        const float* const key = q + r * stride + c.dim;
        put(c, key, key + c.dim, r, each, own);
      }
      const float missing = float(std::max(c.audio_ctx - at - each, kLeastMissing));
      const AttendPiece pieces[] = {
          piece_of(c, before, past, std::min(past, at)), piece_of(c, own, each, each),
          piece_of(c, silence, sinks, sinks, sinks > 0 ? std::log(missing / float(sinks)) : 0.0f)};
      float* const scratch = own + own_floats;
      executor_.attention.pieces(q, stride, each, pieces, 3, dim, 1.0f / std::sqrt(float(dim)),
                                 scratch, q, stride);
      for (int r = 0; r < chunk && past > 0; ++r) {
        const float* const key = q + r * stride + c.dim;
        put(c, key, key + c.dim, (at + r) % past, past, before);
      }
    }
  });
}

/// The last norm of the chunks' rows, and of those after the last chunk.
void StreamEncoder::write_rows(int chunks, int first, MatrixView<float> out) noexcept {
  const Config& c = config_;
  const int chunk = c.stream.chunk, each = chunk_rows(c);
  const int rows = std::min(chunks * chunk + c.stream.right, c.audio_ctx - first);
  executor_.pool.run(rows, [&](int row, int) {
    const int from = row < chunks * chunk ? row / chunk * each + row % chunk
                                          : (chunks - 1) * each + chunk + row - chunks * chunk;
    executor_.rows.layer_norm(floats(residual_) + std::ptrdiff_t(from) * c.dim,
                              weights_.norm.gamma.data(), weights_.norm.beta.data(),
                              weights_.norm.epsilon, c.dim, out.data + (first + row) * out.stride);
  });
}

std::size_t StreamEncoder::bytes() const noexcept {
  return conv1_in_.bytes() + stem_.size() + conv2_in_.bytes() + embedded_.size() +
         residual_.size() + normed_.bytes() + qkv_.size() + attended_.bytes() + hidden_.bytes() +
         silence_.size() * sizeof(float) + sink_pieces_.size();
}

engine::ScratchNeed StreamEncoder::scratch(const Config& c) {
  const StreamingEncoder& s = c.stream;
  return engine::linear_scratch({3 * c.mel_bins, 3 * c.dim, c.dim, c.encoder_ffn}) |
         engine::ScratchNeed::of<float>(
             piece_floats(c, chunk_rows(c)) +
             engine::pieces_scratch(s.past + chunk_rows(c) + s.sinks, head_dim(c)));
}

}  // namespace runnel::models::whisper
