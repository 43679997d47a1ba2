#include "dsp/resampler.h"

#include <samplerate.h>

#include <algorithm>
#include <cassert>
#include <stdexcept>
#include <string>

#include "engine/stage.h"
#include "engine/thread_pool.h"

namespace runnel::dsp {
namespace {

static_assert(Stage<Resampler, AudioChunk, AudioChunk>);

constexpr int kMostChannels = 128;  // libsamplerate's MAX_CHANNELS
constexpr int kMostRatio = 256;     // libsamplerate's SRC_MAX_RATIO

int converter_type(ResamplerQuality quality) {
  switch (quality) {
    case ResamplerQuality::kFast:
      return SRC_SINC_FASTEST;
    case ResamplerQuality::kMedium:
      return SRC_SINC_MEDIUM_QUALITY;
    case ResamplerQuality::kBest:
      return SRC_SINC_BEST_QUALITY;
  }
  throw std::invalid_argument("unknown resampler quality " + std::to_string(int(quality)));
}

// a·b/c rounded down and its remainder, without overflow where the quotient fits.
struct Quotient {
  std::int64_t floor;
  std::int64_t remainder;
};
Quotient multiply_divide(std::int64_t a, std::int64_t b, std::int64_t c) noexcept {
  std::int64_t whole = a / c;
  std::int64_t part = a % c;
  if (part < 0) {
    part += c;
    --whole;
  }
  return {whole * b + part * b / c, part * b % c};
}

}  // namespace

std::int64_t resampled_length(std::int64_t n, int in_rate_hz, int out_rate_hz) noexcept {
  const Quotient q = multiply_divide(n, out_rate_hz, in_rate_hz);
  return q.floor + (q.remainder > 0 ? 1 : 0);
}

void Resampler::Close::operator()(SRC_STATE_tag* converter) const noexcept {
  src_delete(converter);
}

Resampler::Resampler(int in_rate_hz, int out_rate_hz, int channels, int max_chunk,
                     ResamplerQuality quality, engine::ThreadPool* pool)
    : in_rate_(in_rate_hz),
      out_rate_(out_rate_hz),
      channels_(channels),
      max_chunk_(max_chunk),
      pool_(pool) {
  const std::string what =
      "resampler " + std::to_string(in_rate_hz) + " Hz to " + std::to_string(out_rate_hz) + " Hz";
  if (in_rate_hz < 1 || out_rate_hz < 1) {
    throw std::invalid_argument(what + ": rates must be positive");
  }
  if (std::int64_t(in_rate_hz) * kMostRatio < out_rate_hz ||
      std::int64_t(out_rate_hz) * kMostRatio < in_rate_hz) {
    throw std::invalid_argument(what + ": the rates may be at most 256 times apart");
  }
  if (channels < 1 || channels > kMostChannels) {
    throw std::invalid_argument(what + ": channels must be 1 to 128, not " +
                                std::to_string(channels));
  }
  if (max_chunk < 1) throw std::invalid_argument(what + ": max_chunk must be positive");

  // One for the fraction, one because libsamplerate's running position may fall short of a whole
  // input sample by its rounding and so give an output one input sample early.
  max_output_ = in_rate_hz == out_rate_hz
                    ? max_chunk
                    : int(std::int64_t(max_chunk) * out_rate_hz / in_rate_hz) + 2;
  out_stride_ = aligned_stride<float>(max_output_);
  out_.resize(std::size_t(channels) * out_stride_);
  if (in_rate_hz == out_rate_hz) return;

  const int lanes = pool ? std::min(pool->threads(), channels) : 1;
  for (int l = 0; l < lanes; ++l) {
    const int first = channels * l / lanes, count = channels * (l + 1) / lanes - first;
    int error = 0;
    Lane& lane = lanes_.emplace_back();
    lane.first = first;
    lane.channels = count;
    lane.converter.reset(src_new(converter_type(quality), count, &error));
    lane.in.resize(std::size_t(max_chunk) * count);
    lane.out.resize(std::size_t(max_output_) * count);
    if (!lane.converter) throw std::runtime_error(what + ": " + src_strerror(error));
  }
  latency_ = measure_latency();
}

void Resampler::reset() noexcept {
  progress_ = {};
  for (Lane& lane : lanes_) src_reset(lane.converter.get());
}

void Resampler::push(const AudioChunk& chunk) noexcept {
  Progress& p = progress_;
  assert(chunk.channels() == channels_ && chunk.frames() <= max_chunk_);
  assert(!p.flushed && p.ready == 0 && "pop until false before the next push");
  const int n = chunk.frames();
  // Rounded to the nearest output sample: after a jump the grids need not meet.
  const std::int64_t in_origin = chunk.start.index - p.pushed;
  const Quotient origin = multiply_divide(in_origin, out_rate_, in_rate_);
  p.origin = origin.floor + (2 * origin.remainder >= in_rate_ ? 1 : 0);
  p.pushed += n;
  if (lanes_.empty()) {
    for (int c = 0; c < channels_; ++c) {
      std::copy_n(chunk.samples.row(c).data(), n, out_.data() + std::size_t(c) * out_stride_);
    }
    p.ready = n;
    return;
  }
  for (Lane& lane : lanes_) {
    for (int c = 0; c < lane.channels; ++c) {
      const float* samples = chunk.samples.row(lane.first + c).data();
      for (int i = 0; i < n; ++i) lane.in[std::size_t(i) * lane.channels + c] = samples[i];
    }
  }
  p.ready = convert_all(n);
}

bool Resampler::pop(AudioChunk& chunk) noexcept {
  Progress& p = progress_;
  while (p.ready == 0 && p.zeros > 0) {
    const int n = std::min(p.zeros, max_chunk_);
    p.zeros -= n;
    const std::int64_t left = resampled_length(p.pushed, in_rate_, out_rate_) - p.produced;
    p.ready = int(std::min<std::int64_t>(left, convert_all(n)));
  }
  if (p.ready == 0) return false;
  chunk = {{out_.data(), channels_, p.ready, out_stride_}, {p.origin + p.produced, out_rate_}};
  p.produced += p.ready;
  p.ready = 0;
  return true;
}

// libsamplerate's own end_of_input stops a sample early or late, depending on the rates. With as
// many zeros as the filter looks ahead, every output that stands for an input sample comes out.
void Resampler::flush() noexcept {
  Progress& p = progress_;
  if (p.flushed) return;
  p.flushed = true;
  if (lanes_.empty() || p.pushed == 0) return;
  p.zeros = latency_;
  for (Lane& lane : lanes_) std::fill(lane.in.begin(), lane.in.end(), 0.0f);
}

int Resampler::convert_all(int n) noexcept {
  int ready = 0;  // the same for all lanes: it depends on the counts alone
  const auto run = [&](int l, int) {
    Lane& lane = lanes_[std::size_t(l)];
    const int made = convert(lane, n, max_output_);
    for (int c = 0; c < lane.channels; ++c) {
      float* samples = out_.data() + std::size_t(lane.first + c) * out_stride_;
      for (int i = 0; i < made; ++i) samples[i] = lane.out[std::size_t(i) * lane.channels + c];
    }
    if (l == 0) ready = made;
  };
  if (lanes_.size() == 1) {
    run(0, 0);
  } else {
    pool_->run(int(lanes_.size()), run);
  }
  return ready;
}

// src_process allocates nothing (libsamplerate 0.2.2, src_sinc.c) and computes each output from the
// same buffered samples in the same order, however they came.
int Resampler::convert(Lane& lane, int in_frames, int out_frames) noexcept {
  SRC_DATA data = {};
  data.data_in = lane.in.data();
  data.input_frames = in_frames;
  data.data_out = lane.out.data();
  data.output_frames = out_frames;
  data.src_ratio = double(out_rate_) / in_rate_;
  [[maybe_unused]] const int error = src_process(lane.converter.get(), &data);
  assert(error == 0 && data.input_frames_used == in_frames);
  return int(data.output_frames_gen);
}

// Output 0 stands for input 0 and waits for as many samples as any other output at a whole input
// sample; outputs in between wait for as many. So the promise is measured, not copied from the
// library's tables.
int Resampler::measure_latency() {
  Lane& lane = lanes_[0];
  int pushed = 0;
  while (convert(lane, 1, max_output_) == 0) {
    if (++pushed > 1 << 20) throw std::runtime_error("libsamplerate gives no output");
  }
  src_reset(lane.converter.get());
  return pushed;
}

}  // namespace runnel::dsp
