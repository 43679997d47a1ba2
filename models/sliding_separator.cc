#include "models/sliding_separator.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "models/heard_input.h"
#include "models/sample_ring.h"
#include "models/segment_runner.h"
#include "models/stem_output.h"
#include "models/stream_statistics.h"

namespace runnel::models {
namespace {

constexpr const char* kName = "sliding separator";
/// Of a segment: what the first samples handed out have before them, however many hops a run
/// covers.
constexpr double kLeastContext = 0.25;

[[noreturn]] void refuse(const std::string& what) {
  throw std::invalid_argument(std::string(kName) + ": " + what);
}

/// The options in samples at the model's rate.
struct Plan {
  Plan(const SlidingOptions& options, int rate_hz, int segment)
      : hop(samples_of("hop", options.hop_seconds, rate_hz)),
        lookahead(samples_of("lookahead", options.lookahead_seconds, rate_hz)),
        crossfade(samples_of("cross-fade", options.crossfade_seconds, rate_hz)) {
    if (hop < 1) refuse("the hop must be at least a sample at " + std::to_string(rate_hz) + " Hz");
    if (crossfade > lookahead) refuse("the cross-fade may not be longer than the lookahead");
    if (hop + lookahead > segment) {
      refuse("hop and lookahead must fit into the model's segment of " +
             std::to_string(double(segment) / rate_hz) + " s");
    }
    const int most = segment - lookahead - int(kLeastContext * segment);
    most_hops = std::max(1, most / hop);
  }

  static int samples_of(const char* what, double seconds, int rate_hz) {
    if (!(seconds >= 0 && seconds <= 3600)) {
      refuse(std::string("the ") + what + " must be 0 s or more, not " + std::to_string(seconds));
    }
    return int(std::lround(seconds * rate_hz));
  }

  int hop, lookahead, crossfade;
  int most_hops = 1;  // that one run hands out
};

}  // namespace

/// Positions count samples at the model's rate. A run's window ends a whole number of hops after
/// the last one's (usually one); its result goes from the end of the last result to `lookahead`
/// before the window's end, and a tail of `crossfade` samples more is kept for the fade to the next
/// one.
struct SlidingSeparator::Impl {
  Impl(std::shared_ptr<SegmentModel> model, const SeparatorFormat& f, const SlidingOptions& options)
      : format(f),
        runner(kName, std::move(model), f.channels, options.wanted),
        plan(options, runner.rate_hz(), runner.samples()),
        input(f, runner.rate_hz()),
        output(f, runner.rate_hz(), runner.stems(), runner.wanted()),
        statistics(runner.groups()),
        // A window, and what waits behind it.
        heard(f.channels, runner.samples() + plan.most_hops * plan.hop + input.max_heard()),
        result(runner.rows(),
               std::max(plan.most_hops * plan.hop, plan.hop + plan.lookahead) + plan.crossfade),
        tail(runner.rows(), std::max(1, plan.crossfade)) {
    start();
  }

  void start() noexcept {
    available = window_end = counted = 0;
    result_start = result_end = -plan.lookahead;
    handed = 0;
    tail_size = 0;
    finished = false;
  }

  bool pop(Stems& stems) noexcept {
    for (;;) {
      if (output.pop(stems)) return true;
      // All that waits is heard before the model runs, so that one run can make up for several.
      if (hand_over() || hear() || run_window()) continue;
      if (!input.over() || finished) return false;
      output.finish();
      finished = true;
    }
  }

  bool hand_over() noexcept {
    if (handed >= result_end) return false;
    const int n = int(std::min<std::int64_t>(result_end - handed, StemOutput::kBlock));
    output.hand_over(result.view(handed - result_start, n));
    handed += n;
    return true;
  }

  bool hear() noexcept {
    if (available - window_end >= plan.most_hops * plan.hop) return false;
    AudioChunk chunk;
    if (!input.hear(chunk)) return false;
    heard.write(available, chunk.samples);
    available += chunk.frames();
    return true;
  }

  bool run_window() noexcept {
    const std::int64_t hops =
        std::min<std::int64_t>((available - window_end) / plan.hop, plan.most_hops);
    if (hops > 0) {
      window_end += hops * plan.hop;
      run_model(window_end - plan.lookahead, plan.crossfade);
    } else if (input.over() && available > 0 && result_end < available) {
      window_end = available;
      run_model(window_end, 0);
    } else {
      return false;
    }
    return true;
  }

  /// Makes the result that goes up to `end`, and its tail.
  void run_model(std::int64_t end, int new_tail) noexcept {
    count_to(window_end);
    keep_tail();
    const int used = int(end - result_end) + new_tail;
    const std::int64_t window_start = window_end - runner.samples();
    result_start = result_end;
    result_end = end;
    const SegmentRunner::Segment segment{.start = window_start,
                                         .end = window_end,
                                         .first_used = int(result_start - window_start),
                                         .used = used};
    for (int g = 0; g < runner.groups().count(); ++g) {
      runner.run(g, heard, segment, statistics.normalization(g),
                 [&](int row, std::span<const float> stem) {
                   std::copy_n(stem.data(), used, result.row(row));
                   fade_in(row, used);
                 });
    }
    tail_size = new_tail;
  }

  /// Takes what has become known up to `end` into the running statistics.
  void count_to(std::int64_t end) noexcept {
    while (counted < end) {
      const MatrixView<const float> samples = heard.view(counted, end - counted);
      statistics.add(samples);
      counted += samples.cols;
    }
  }

  void keep_tail() noexcept {
    const int at = int(result_end - result_start);
    for (int r = 0; r < tail.rows(); ++r) std::copy_n(result.row(r) + at, tail_size, tail.row(r));
  }

  void fade_in(int row, int count) noexcept {
    float* to = result.row(row);
    const float* from = tail.row(row);
    const float step = 1.0f / float(tail_size + 1);
    for (int i = 0; i < std::min(tail_size, count); ++i) {
      to[i] = from[i] + (to[i] - from[i]) * (float(i + 1) * step);
    }
  }

  const SeparatorFormat format;
  SegmentRunner runner;
  const Plan plan;
  HeardInput input;
  StemOutput output;
  StreamStatistics statistics;  // of [0, counted)
  SampleRing heard;             // [channels, …]
  SampleRing result;            // [rows, …], from result_start at column 0 on, with the tail
  SampleRing tail;              // [rows, crossfade], of the last result

  std::int64_t available = 0;   // end of what has been heard
  std::int64_t window_end = 0;  // of the last run
  std::int64_t counted = 0;
  std::int64_t result_start = 0, result_end = 0;  // before 0: before the stream
  std::int64_t handed = 0;                        // end of what has been handed over
  int tail_size = 0;
  bool finished = false;
};

SlidingSeparator::SlidingSeparator(std::shared_ptr<SegmentModel> model,
                                   const SeparatorFormat& format, const SlidingOptions& options) {
  check_format(kName, format);
  impl_ = std::make_unique<Impl>(std::move(model), format, options);
}

SlidingSeparator::~SlidingSeparator() = default;

void SlidingSeparator::push(const AudioChunk& chunk) noexcept {
  impl_->input.push(chunk);
  impl_->output.expect(chunk.start, chunk.frames());
}

bool SlidingSeparator::pop(Stems& stems) noexcept { return impl_->pop(stems); }
void SlidingSeparator::flush() noexcept { impl_->input.flush(); }

void SlidingSeparator::reset() noexcept {
  Impl& s = *impl_;
  s.runner.reset();
  s.input.reset();
  s.output.reset();
  s.statistics.reset();
  s.start();
}

std::int64_t SlidingSeparator::latency_samples() const noexcept {
  const Impl& s = *impl_;
  const int model_latency = s.plan.hop + s.plan.lookahead - 1;
  return s.input.latency_samples() +
         dsp::resampled_length(model_latency + s.output.latency_samples(), s.runner.rate_hz(),
                               s.format.rate_hz);
}

const SeparatorFormat& SlidingSeparator::format() const noexcept { return impl_->format; }
int SlidingSeparator::stems() const noexcept { return impl_->runner.stems(); }
int SlidingSeparator::max_output() const noexcept { return impl_->output.max_output(); }
std::int64_t SlidingSeparator::steps() const noexcept { return impl_->runner.steps(); }

std::size_t SlidingSeparator::state_bytes() const noexcept {
  const Impl& s = *impl_;
  return sizeof(s) + s.runner.bytes() + s.input.bytes() + s.output.bytes() + s.heard.bytes() +
         s.result.bytes() + s.tail.bytes();
}

}  // namespace runnel::models
