#include "models/moonshine/front_end.h"

#include <algorithm>
#include <cmath>

#include "engine/linear.h"

namespace runnel::models::moonshine {
namespace {

using engine::Activation;
using engine::Activations;

constexpr float kEpsilon = 1e-6f;  // of a frame's variance
constexpr float kLoudest = 1e6f;   // far beyond full scale; its square is still a float
constexpr int kMostRows = 32;
constexpr int kMostFrames = 4 * kMostRows;  // of a block: 32 rows are what tiles multiply at once

int frames_of(int samples, int frame_samples) {
  return std::min(kMostFrames, (samples / frame_samples + 1 + 3) / 4 * 4);
}

}  // namespace

void FrontEnd::Tail::restart() noexcept {
  count = kTaps - 1;  // zeros before the first row: the convolution is causal
  std::fill_n(rows.begin(), std::ptrdiff_t(count) * dim, 0.0f);
}

void FrontEnd::Tail::drop(int outputs) noexcept {
  const std::ptrdiff_t dropped = std::ptrdiff_t(kStride) * outputs * dim;
  std::copy(rows.begin() + dropped, rows.begin() + std::ptrdiff_t(count) * dim, rows.begin());
  count -= kStride * outputs;
}

FrontEnd::FrontEnd(const Config::Encoder& c, const FrontEndWeights& weights,
                   engine::Precision precision, engine::Executor& executor, int max_chunk)
    : config_(c),
      weights_(weights),
      executor_(executor),
      max_frames_(frames_of(max_chunk, c.frame_samples)),
      partial_(std::size_t(c.frame_samples)),
      frames_(max_frames_, c.frame_samples, Activations::Format::kFloat),
      tail1_{.dim = c.dim},
      tail2_{.dim = 2 * c.dim} {
  const Activations::Format format = Activations::format_of(executor, precision);
  // Up to 4 rows are left from before.
  tail1_.rows.resize(std::size_t(max_frames_ + kTaps) * std::size_t(tail1_.dim));
  tail2_.rows.resize(std::size_t(max_frames_ / 2 + kTaps) * std::size_t(tail2_.dim));
  conv1_in_ = Activations(max_frames_ / 2, kTaps * tail1_.dim, format);
  conv2_in_ = Activations(max_frames_ / 4, kTaps * tail2_.dim, format);
  restart();
}

void FrontEnd::restart() noexcept {
  filled_ = 0;
  tail1_.restart();
  tail2_.restart();
}

int FrontEnd::push(std::span<const float>& samples, MatrixView<float> out) noexcept {
  const int length = config_.frame_samples;
  const MatrixView<float> to = frames_.floats(max_frames_);
  int frames = 0;
  while (!samples.empty() && frames < max_frames_) {
    const std::size_t taken = std::min(samples.size(), std::size_t(length - filled_));
    std::transform(samples.begin(), samples.begin() + std::ptrdiff_t(taken),
                   partial_.begin() + filled_,
                   [](float x) { return std::abs(x) <= kLoudest ? x : 0.0f; });
    samples = samples.subspan(taken);
    filled_ += int(taken);
    if (filled_ < length) break;
    executor_.rows.compress(partial_.data(), weights_.compression, kEpsilon, length,
                            to.row(frames++).data());
    filled_ = 0;
  }
  if (frames == 0) return 0;
  engine::multiply(executor_, weights_.linear, frames_, tail1_.room(frames),
                   {.activation = Activation::kSilu});
  operations_ += std::int64_t(frames) * config_.dim * length;
  return convolve(frames, out);
}

int FrontEnd::flush(MatrixView<float> out) noexcept {
  if (filled_ == 0) return 0;
  filled_ = 0;
  std::ranges::fill(tail1_.room(1).row(0), 0.0f);
  return convolve(1, out);
}

int FrontEnd::convolve(int frames, MatrixView<float> out) noexcept {
  tail1_.count += frames;
  const int middle = tail1_.outputs();
  if (middle == 0) return 0;
  const MatrixView<const float> windows = tail1_.windows();
  const MatrixView<float> to = tail2_.room(middle);
  // More than 32 rows of tiles are summed in another order, and a row must not depend on the chunk.
  for (int first = 0; first < middle; first += kMostRows) {
    const int n = std::min(kMostRows, middle - first);
    engine::pack(executor_,
                 {windows.data + first * windows.stride, n, windows.cols, windows.stride},
                 conv1_in_);
    engine::multiply(executor_, weights_.conv1, conv1_in_,
                     MatrixView<float>{to.data + first * to.stride, n, to.cols, to.stride},
                     {.activation = Activation::kSilu});
  }
  tail1_.drop(middle);
  tail2_.count += middle;
  const std::int64_t square = std::int64_t(config_.dim) * config_.dim;
  operations_ += middle * 2 * kTaps * square;

  const int rows = tail2_.outputs();
  if (rows == 0) return 0;
  engine::pack(executor_, tail2_.windows(), conv2_in_);
  engine::multiply(executor_, weights_.conv2, conv2_in_,
                   MatrixView<float>{out.data, rows, config_.dim, out.stride});
  tail2_.drop(rows);
  operations_ += rows * 2 * kTaps * square;
  return rows;
}

std::size_t FrontEnd::bytes() const noexcept {
  return (partial_.size() + tail1_.rows.size() + tail2_.rows.size()) * sizeof(float) +
         frames_.bytes() + conv1_in_.bytes() + conv2_in_.bytes();
}

engine::ScratchNeed FrontEnd::scratch(const Config::Encoder& c) {
  return engine::linear_scratch({c.frame_samples, kTaps * c.dim, kTaps * 2 * c.dim});
}

}  // namespace runnel::models::moonshine
