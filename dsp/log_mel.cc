#include "dsp/log_mel.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <complex>
#include <stdexcept>
#include <string>

#include "dsp/elementwise.h"
#include "dsp/fft.h"
#include "dsp/window.h"
#include "engine/aligned_vector.h"
#include "engine/stage.h"

namespace runnel::dsp {
namespace {

static_assert(Stage<LogMel, AudioChunk, MelFrames>);

constexpr int kFft = LogMel::kFft;
constexpr int kHop = LogMel::kHop;
constexpr int kBins = kFft / 2 + 1;
constexpr int kPadding = kFft / 2;     // reflected samples before the first
constexpr int kFramesAtOnce = 32;      // that one pop hands out at most
constexpr int kRoom = 4096;            // samples beyond need, so that moves in the history are rare
constexpr float kLeastPower = 1e-10f;  // the reference's clamp
constexpr float kSilence = -10.0f;     // its log10
constexpr float kDynamicRange = 8.0f;  // log10 of power that a window keeps: 80 dB

// Slaney's mel scale: 200/3 Hz a mel below 1 kHz, then 27 mels for each factor of 6.4.
constexpr double kHzPerMel = 200.0 / 3.0;
constexpr double kKneeHz = 1000.0;
constexpr double kKneeMel = kKneeHz / kHzPerMel;

double log_step() { return std::log(6.4) / 27.0; }

double mel_of(double hz) {
  return hz < kKneeHz ? hz / kHzPerMel : kKneeMel + std::log(hz / kKneeHz) / log_step();
}

double hz_of(double mel) {
  return mel < kKneeMel ? mel * kHzPerMel : kKneeHz * std::exp((mel - kKneeMel) * log_step());
}

// x ← log10(max(x, kLeastPower)), to 1e-6. x = 2^e·m with m in [√½, √2); ln m is the series
// 2·(s + s³/3 + s⁵/5 + …) of s = (m − 1)/(m + 1), |s| < 0.172: its s¹¹ is below 1e-9. Plain
// arithmetic, which the compiler vectorises.
void log10_of_power(float* x, int n) noexcept {
  constexpr std::int32_t kSqrtHalf = 0x3f3504f3;
  constexpr float kLog10Of2 = 0.301029996f, kTwoOverLn10 = 0.868588964f;
  for (int i = 0; i < n; ++i) {
    const float value = x[i] < kLeastPower ? kLeastPower : x[i];
    const std::int32_t bits = std::bit_cast<std::int32_t>(value) - kSqrtHalf;
    const auto exponent = float(bits >> 23);
    const auto m = std::bit_cast<float>((bits & 0x007fffff) + kSqrtHalf);
    const float s = (m - 1.0f) / (m + 1.0f);
    const float z = s * s;
    const float series =
        s * (1.0f + z * (1.0f / 3 + z * (1.0f / 5 + z * (1.0f / 7 + z * (1.0f / 9)))));
    x[i] = exponent * kLog10Of2 + series * kTwoOverLn10 + (value - value);  // NaN stays NaN
  }
}

}  // namespace

std::vector<float> slaney_mel_filters(int mel_bins, int n_fft, int rate_hz) {
  if (mel_bins < 1 || n_fft < 2 || rate_hz < 2) {
    throw std::invalid_argument(
        "mel filters: expected mel_bins ≥ 1, n_fft ≥ 2 and rate ≥ 2 Hz, found " +
        std::to_string(mel_bins) + ", " + std::to_string(n_fft) + ", " + std::to_string(rate_hz));
  }
  const int bins = n_fft / 2 + 1;
  std::vector<double> corners(std::size_t(mel_bins) + 2);  // Hz
  for (std::size_t i = 0; i < corners.size(); ++i) {
    corners[i] = hz_of(mel_of(rate_hz / 2.0) * double(i) / (mel_bins + 1));
  }
  std::vector<float> filters(std::size_t(mel_bins) * bins);
  for (int band = 0; band < mel_bins; ++band) {
    const double low = corners[band], centre = corners[band + 1], high = corners[band + 2];
    for (int bin = 0; bin < bins; ++bin) {
      const double hz = double(bin) * rate_hz / n_fft;
      const double triangle = std::min((hz - low) / (centre - low), (high - hz) / (high - centre));
      filters[std::size_t(band) * bins + bin] =
          float(std::max(triangle, 0.0) * 2.0 / (high - low));  // of area 1 in Hz
    }
  }
  return filters;
}

struct LogMel::Impl {
  struct Band {
    int first = 0;  // bin
    int count = 0;  // of bins with a weight
    int weight = 0;
  };

  Impl(int mel_bins, int max_chunk);
  void push(const AudioChunk& chunk) noexcept;
  bool pop(MelFrames& frames) noexcept;
  void flush() noexcept;
  void reset() noexcept;
  void make_room(int samples) noexcept;
  void reflect_start() noexcept;
  void compute(const float* samples, float* log_mel) noexcept;

  int mel_bins;
  int max_chunk;
  int stride;  // of a frame in log_mel
  std::shared_ptr<const RealFft> fft = shared_fft(kFft);
  std::vector<float> window = make_window(WindowKind::kHann, kFft);
  std::vector<Band> bands;     // [mel_bins]
  std::vector<float> weights;  // of all bands, one after another
  AlignedVector<float> history;
  AlignedVector<float> windowed = AlignedVector<float>(kFft);
  AlignedVector<std::complex<float>> spectrum = AlignedVector<std::complex<float>>(kBins);
  AlignedVector<std::complex<float>> scratch;
  AlignedVector<float> power = AlignedVector<float>(kBins);
  AlignedVector<float> log_mel;  // [kFramesAtOnce, stride]

  struct Progress {
    int begin = 0;            // in history: the next frame's first sample
    int end = kPadding;       // in history: one past the newest sample or zero
    std::int64_t pushed = 0;  // samples
    std::int64_t frames = 0;  // handed out
    std::int64_t origin = 0;  // time stamp of the first sample, had the stamps not jumped
    bool reflected = false;   // what stands before the first sample
    bool flushed = false;
  } at;
};

LogMel::Impl::Impl(int mel_bins, int max_chunk) : mel_bins(mel_bins), max_chunk(max_chunk) {
  if (mel_bins < 1 || max_chunk < 1) {
    throw std::invalid_argument("log-mel: expected mel_bins ≥ 1 and max_chunk ≥ 1, found " +
                                std::to_string(mel_bins) + " and " + std::to_string(max_chunk));
  }
  const std::vector<float> filters = slaney_mel_filters(mel_bins, kFft, kRate);
  for (int i = 0; i < mel_bins; ++i) {
    const float* row = filters.data() + std::size_t(i) * kBins;
    Band band = {.weight = int(weights.size())};
    while (band.first < kBins - 1 && row[band.first] == 0.0f) ++band.first;
    for (int bin = band.first; bin < kBins && row[bin] > 0.0f; ++bin, ++band.count) {
      weights.push_back(row[bin]);
    }
    bands.push_back(band);
  }
  stride = aligned_stride<float>(mel_bins);
  scratch.resize(fft->scratch_size());
  log_mel.resize(std::size_t(kFramesAtOnce) * stride);
  // At most a frame and a sample are left when a chunk, or the zeros of flush, come.
  history.resize(std::size_t(kFft) + 1 + std::max(max_chunk, kFft) + kRoom);
}

void LogMel::Impl::reset() noexcept { at = {}; }

void LogMel::Impl::push(const AudioChunk& chunk) noexcept {
  const int n = chunk.frames();
  assert(chunk.channels() == 1 && n <= max_chunk);
  assert(!at.flushed && at.end - at.begin <= kFft && "pop until false before the next push");
  if (n == 0) return;
  make_room(n);
  std::copy_n(chunk.samples.data, n, history.data() + at.end);
  at.origin = chunk.start.index - at.pushed;
  at.pushed += n;
  at.end += n;
}

void LogMel::Impl::flush() noexcept {
  if (at.flushed) return;
  at.flushed = true;
  make_room(kFft);
  std::fill_n(history.data() + at.end, kFft, 0.0f);
  at.end += kFft;
}

bool LogMel::Impl::pop(MelFrames& frames) noexcept {
  if (!at.reflected) {
    if (at.end <= 2 * kPadding) return false;  // sample 200 is still to come
    reflect_start();
  }
  const std::int64_t complete = (at.end - at.begin - kFft) / kHop + (at.end - at.begin >= kFft);
  const std::int64_t all = at.pushed / kHop - at.frames;  // fewer, where flush's zeros make more
  const int count = int(std::min({complete, all, std::int64_t(kFramesAtOnce)}));
  if (count <= 0) return false;
  for (int i = 0; i < count; ++i) {
    compute(history.data() + at.begin, log_mel.data() + std::ptrdiff_t(i) * stride);
    at.begin += kHop;
  }
  frames = {.log_mel = {log_mel.data(), count, mel_bins, stride},
            .start = {at.origin + at.frames * kHop, kRate}};
  at.frames += count;
  return true;
}

void LogMel::Impl::reflect_start() noexcept {
  float* first = history.data() + kPadding;
  for (int i = 1; i <= kPadding; ++i) first[-i] = first[i];
  at.reflected = true;
}

// samples: [kFft]; out: [mel_bins]. No frame's values depend on another's, so chunking changes
// none.
void LogMel::Impl::compute(const float* samples, float* out) noexcept {
  multiply(window.data(), samples, windowed.data(), kFft);
  fft->forward(windowed.data(), spectrum.data(), scratch.data());
  const auto* parts = reinterpret_cast<const float*>(spectrum.data());
  float* __restrict p = power.data();
  for (int i = 0; i < kBins; ++i)
    p[i] = parts[2 * i] * parts[2 * i] + parts[2 * i + 1] * parts[2 * i + 1];
  for (int i = 0; i < mel_bins; ++i) {
    const Band band = bands[i];
    float sum = 0.0f;
    for (int k = 0; k < band.count; ++k) sum += weights[band.weight + k] * p[band.first + k];
    out[i] = sum;
  }
  log10_of_power(out, mel_bins);
}

void LogMel::Impl::make_room(int samples) noexcept {
  if (std::size_t(at.end) + samples <= history.size()) return;
  std::copy(history.data() + at.begin, history.data() + at.end, history.data());
  at.end -= at.begin;
  at.begin = 0;
}

LogMel::LogMel(int mel_bins, int max_chunk) : impl_(std::make_unique<Impl>(mel_bins, max_chunk)) {}
LogMel::~LogMel() = default;
LogMel::LogMel(LogMel&&) noexcept = default;
LogMel& LogMel::operator=(LogMel&&) noexcept = default;

void LogMel::push(const AudioChunk& chunk) noexcept { impl_->push(chunk); }
bool LogMel::pop(MelFrames& frames) noexcept { return impl_->pop(frames); }
void LogMel::flush() noexcept { impl_->flush(); }
void LogMel::reset() noexcept { impl_->reset(); }
int LogMel::mel_bins() const noexcept { return impl_->mel_bins; }

// Frame 0 is on sample 0 and reflects sample 200.
std::int64_t LogMel::latency_samples() const noexcept { return kPadding; }

void whisper_window(MatrixView<const float> log10_mel, MatrixView<float> out) noexcept {
  assert(log10_mel.rows <= out.rows && log10_mel.cols == out.cols);
  float most = log10_mel.rows < out.rows ? kSilence : -INFINITY;
  for (int r = 0; r < log10_mel.rows; ++r) {
    for (const float value : log10_mel.row(r)) most = std::max(most, value);
  }
  const float least = most - kDynamicRange;
  const auto scaled = [least](float value) { return (std::max(value, least) + 4.0f) / 4.0f; };
  for (int r = 0; r < log10_mel.rows; ++r) {
    const auto in = log10_mel.row(r);
    std::transform(in.begin(), in.end(), out.row(r).begin(), scaled);
  }
  for (int r = log10_mel.rows; r < out.rows; ++r) {
    std::fill_n(out.row(r).begin(), out.cols, scaled(kSilence));
  }
}

}  // namespace runnel::dsp
