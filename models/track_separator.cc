#include "models/track_separator.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <stdexcept>
#include <string>

#include "models/heard_input.h"
#include "models/sample_ring.h"
#include "models/segment_runner.h"
#include "models/stem_output.h"
#include "models/stream_statistics.h"

namespace runnel::models {
namespace {

constexpr const char* kName = "track separator";
constexpr double kMostShiftSeconds = 0.5;

[[noreturn]] void refuse(const std::string& what) {
  throw std::invalid_argument(std::string(kName) + ": " + what);
}

/// How far the segments of each run lie before the track's start.
std::vector<std::int64_t> delays_of(const TrackOptions& options, int rate_hz) {
  if (options.shifts < 0) refuse("shifts must be 0 or more, not " + std::to_string(options.shifts));
  if (options.shifts == 0) return {0};
  std::mt19937_64 random(options.seed);
  const std::uint64_t most = std::uint64_t(kMostShiftSeconds * rate_hz);
  std::vector<std::int64_t> delays;
  for (int i = 0; i < options.shifts; ++i) {
    // 32 random bits times a range of far fewer: as good as uniform, and equal everywhere.
    delays.push_back(std::int64_t((random() >> 32) * (most + 1) >> 32));
  }
  return delays;
}

int stride_of(const TrackOptions& options, int samples) {
  if (!(options.overlap >= 0 && options.overlap < 1)) {
    refuse("overlap must be at least 0 and less than 1, not " + std::to_string(options.overlap));
  }
  const int stride = int((1 - options.overlap) * samples);
  if (stride < 1) {
    refuse("overlap " + std::to_string(options.overlap) + " leaves no step between segments of " +
           std::to_string(samples) + " samples");
  }
  return stride;
}

std::vector<Normalization> checked(const std::vector<Normalization>& given, int groups) {
  if (!given.empty() && given.size() != 1 && given.size() != std::size_t(groups)) {
    refuse("normalization must be one or one of each of " + std::to_string(groups) +
           " channel pairs, not " + std::to_string(given.size()));
  }
  for (const Normalization& n : given) {
    if (!std::isfinite(n.mean) || !std::isfinite(n.deviation) || n.deviation < 0) {
      refuse("the normalization's mean must be a number and its deviation 0 or more");
    }
  }
  return given;
}

/// 1, 2, … up to the middle of a segment and down to 1 again; the largest is 1.
std::vector<float> triangle(int samples) {
  const int rising = samples / 2, falling = samples - rising;
  std::vector<float> weights;
  for (int i = 1; i <= rising; ++i) weights.push_back(float(i) / float(falling));
  for (int i = falling; i > 0; --i) weights.push_back(float(i) / float(falling));
  return weights;
}

}  // namespace

/// Positions count samples at the model's rate. A run (of which there are several with shifts) has
/// its segments at −delay + k · stride. One is run as soon as it is full, or else after the end of
/// the track, when it is known how much there is of it. No position before the earliest next
/// segment changes any more.
struct TrackSeparator::Impl {
  Impl(std::shared_ptr<SegmentModel> model, const SeparatorFormat& f, const TrackOptions& options)
      : format(f),
        runner(kName, std::move(model), f.channels, options.wanted),
        stride(stride_of(options, runner.samples())),
        delays(delays_of(options, runner.rate_hz())),
        normalization(checked(options.normalization, runner.groups().count())),
        input(f, runner.rate_hz(), runner.pool()),
        output(f, runner.rate_hz(), runner.stems(), runner.wanted(), runner.pool()),
        statistics(runner.groups()),
        // The last segment and, where it is short, up to half of one before it.
        heard(f.channels, runner.samples() + runner.samples() / 2),
        sum(runner.rows(), runner.samples()),
        weights(triangle(runner.samples())),
        shares(weights.size()),
        next(delays.size()) {
    start();
  }

  void start() noexcept {
    for (std::size_t i = 0; i < delays.size(); ++i) {
      next[i] = -delays[i];
      while (next[i] + runner.samples() <= 0) next[i] += stride;  // wholly before the track
    }
    available = handed = 0;
    incoming = {};
    incoming_taken = 0;
    finished = false;
  }

  bool pop(Stems& stems) noexcept {
    for (;;) {
      if (output.pop(stems)) return true;
      if (hand_over() || hear() || run_segment()) continue;
      if (!input.over() || finished) return false;
      output.finish();
      finished = true;
    }
  }

  std::int64_t earliest() const noexcept { return *std::min_element(next.begin(), next.end()); }

  /// Hands over a block of what is final.
  bool hand_over() noexcept {
    const std::int64_t final_end = std::min(earliest(), available);
    if (final_end <= handed) return false;
    const MatrixView<const float> rows =
        sum.view(handed, std::min<std::int64_t>(final_end - handed, StemOutput::kBlock));
    output.hand_over(rows);
    for (int r = 0; r < rows.rows; ++r) {
      sum.for_each_run(handed, rows.cols,
                       [&](int at, int, int n) { std::fill_n(sum.row(r) + at, n, 0.0f); });
    }
    handed += rows.cols;
    return true;
  }

  /// Takes more input, at most until the earliest segment is full: so the running statistics are
  /// those of its end, whatever the chunks.
  bool hear() noexcept {
    const std::int64_t room = earliest() + runner.samples() - available;
    if (room == 0) return false;
    if (incoming_taken == incoming.frames()) {
      if (!input.hear(incoming)) {
        incoming = {};
        incoming_taken = 0;
        return false;
      }
      incoming_taken = 0;
    }
    const int n = int(std::min<std::int64_t>(incoming.frames() - incoming_taken, room));
    const auto samples = incoming.samples.columns(incoming_taken, n);
    heard.write(available, samples);
    if (normalization.empty()) statistics.add(samples);
    incoming_taken += n;
    available += n;
    return true;
  }

  bool run_segment() noexcept {
    const auto run = std::min_element(next.begin(), next.end());
    const std::int64_t offset = *run;
    const int samples = runner.samples();
    const bool full = available >= offset + samples;
    if (!full && (!input.over() || offset >= available || available == 0)) return false;

    // A short one is centred: before it comes what the track has there, behind it zeros.
    const int used = int(std::min<std::int64_t>(samples, available - offset));
    const int before = (samples - used) / 2;
    find_shares(offset + delays[std::size_t(run - next.begin())]);
    const int skipped = int(std::max<std::int64_t>(0, -offset));  // before the track's start
    for (int g = 0; g < runner.groups().count(); ++g) {
      const SegmentRunner::Segment segment{
          .start = offset - before, .end = available, .first_used = before, .used = used};
      runner.run(g, heard, segment, normalization_of(g), [&](int row, std::span<const float> stem) {
        float* to = sum.row(row);
        sum.for_each_run(offset + skipped, std::max(0, used - skipped),
                         [&](int at, int first, int n) {
                           const float* share = shares.data() + skipped + first;
                           const float* x = stem.data() + skipped + first;
                           for (int i = 0; i < n; ++i) to[at + i] += share[i] * x[i];
                         });
      });
    }
    *run += stride;
    return true;
  }

  Normalization normalization_of(int group) const noexcept {
    if (normalization.empty()) return statistics.normalization(group);
    return normalization[normalization.size() == 1 ? 0 : std::size_t(group)];
  }

  /// What a segment counts for at each of its samples: its weight over the sum of all weights
  /// there, over the number of runs. `offset`: from the run's first segment.
  void find_shares(std::int64_t offset) noexcept {
    const int samples = runner.samples();
    std::fill(shares.begin(), shares.end(), 0.0f);
    std::int64_t first = offset;  // the earliest segment that reaches into this one
    while (first >= stride && first - stride + samples > offset) first -= stride;
    for (; first < offset + samples; first += stride) {
      const std::int64_t shift = offset - first;
      const int from = int(std::max<std::int64_t>(0, -shift));
      const int to = int(std::min<std::int64_t>(samples, samples - shift));
      for (int i = from; i < to; ++i) shares[std::size_t(i)] += weights[std::size_t(i + shift)];
    }
    const float runs = float(delays.size());
    for (int i = 0; i < samples; ++i) {
      shares[std::size_t(i)] = weights[std::size_t(i)] / (shares[std::size_t(i)] * runs);
    }
  }

  const SeparatorFormat format;
  SegmentRunner runner;
  const int stride;
  const std::vector<std::int64_t> delays;  // of each run
  const std::vector<Normalization> normalization;
  HeardInput input;
  StemOutput output;
  StreamStatistics statistics;  // of [0, available)
  SampleRing heard;             // [channels, …]
  SampleRing sum;               // [rows, …], weighted; zeros where nothing has been added yet
  const std::vector<float> weights;
  std::vector<float> shares;

  std::vector<std::int64_t> next;  // offset of each run's next segment
  std::int64_t available = 0;      // end of what has been heard
  std::int64_t handed = 0;         // end of what has been handed over
  AudioChunk incoming;             // from the input
  int incoming_taken = 0;
  bool finished = false;
};

TrackSeparator::TrackSeparator(std::shared_ptr<SegmentModel> model, const SeparatorFormat& format,
                               const TrackOptions& options) {
  check_format(kName, format);
  impl_ = std::make_unique<Impl>(std::move(model), format, options);
}

TrackSeparator::~TrackSeparator() = default;

void TrackSeparator::push(const AudioChunk& chunk) noexcept {
  impl_->input.push(chunk);
  impl_->output.expect(chunk.start, chunk.frames());
}

bool TrackSeparator::pop(Stems& stems) noexcept { return impl_->pop(stems); }
void TrackSeparator::flush() noexcept { impl_->input.flush(); }

void TrackSeparator::reset() noexcept {
  Impl& s = *impl_;
  s.runner.reset();
  s.input.reset();
  s.output.reset();
  s.statistics.reset();
  s.sum.fill_zero();
  s.start();
}

std::int64_t TrackSeparator::latency_samples() const noexcept {
  const Impl& s = *impl_;
  return s.input.latency_samples() +
         dsp::resampled_length(s.runner.samples() - 1 + s.output.latency_samples(),
                               s.runner.rate_hz(), s.format.rate_hz);
}

const SeparatorFormat& TrackSeparator::format() const noexcept { return impl_->format; }
int TrackSeparator::stems() const noexcept { return impl_->runner.stems(); }
int TrackSeparator::max_output() const noexcept { return impl_->output.max_output(); }
std::int64_t TrackSeparator::steps() const noexcept { return impl_->runner.steps(); }

std::size_t TrackSeparator::state_bytes() const noexcept {
  const Impl& s = *impl_;
  return sizeof(s) + s.runner.bytes() + s.input.bytes() + s.output.bytes() + s.heard.bytes() +
         s.sum.bytes() + (s.weights.size() + s.shares.size()) * sizeof(float);
}

}  // namespace runnel::models
