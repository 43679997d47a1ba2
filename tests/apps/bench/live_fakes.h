// A live transcriber that takes as long as it is told to: sleeping, so that what it shows doesn't
// hang on how busy the machine is.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <vector>

#include "models/live_transcriber.h"
#include "rt/clock.h"

namespace runnel::apps::testing {

struct PacedTalkerOptions {
  std::int64_t block_ns = 0;         // for each push
  int every_blocks = 50;             // then a line of one word ends
  std::int64_t pass_ns = 0;          // for that
  std::int64_t more_pass_ns = 0;     // and so much more for each line
  std::size_t leak_bytes = 0;        // of each push, kept for ever
  bool skip_when_late = false;       // puts passes off while more than 100 ms wait
  std::int64_t* clock_ns = nullptr;  // is put forward instead of sleeping
};

class PacedTalker final : public models::LiveTranscriber {
 public:
  explicit PacedTalker(const PacedTalkerOptions& options) : options_(options) {}

  void push(std::span<const float> samples, std::int64_t waiting,
            const OnEvent& on_event) override {
    sleep(options_.block_ns);
    heard_ += std::int64_t(samples.size());
    most_waiting_ = std::max(most_waiting_, waiting);
    if (options_.leak_bytes > 0) leaked_.emplace_back(options_.leak_bytes, 'x');
    if (++blocks_ % options_.every_blocks != 0) return;
    if (options_.skip_when_late && waiting > 1600) {
      ++totals_.skipped_passes;
      return;
    }
    sleep(options_.pass_ns + line_ * options_.more_pass_ns);
    ++totals_.passes;
    models::LiveEvent event;
    event.kind = models::LiveEvent::Kind::kFinal;
    event.line = line_++;
    event.words.push_back(
        {.text = " word", .start = heard_seconds() - 0.3, .end = heard_seconds() - 0.1});
    event.committed = 1;
    event.heard = heard_seconds();
    event.ends_utterance = true;
    event.speech_end = event.words[0].end;
    event.pass_seconds = 1e-9 * double(options_.pass_ns);
    on_event(event);
  }
  void finish(const OnEvent&) override {}
  void reset() override {}
  double heard_seconds() const noexcept override { return double(heard_) / 16'000; }
  const models::LiveTotals& totals() const noexcept override { return totals_; }

  std::int64_t most_waiting() const { return most_waiting_; }

 private:
  void sleep(std::int64_t ns) const {
    if (options_.clock_ns) {
      *options_.clock_ns += ns;
    } else if (ns > 0) {
      rt::sleep_until_ns(rt::now_ns() + ns);
    }
  }

  const PacedTalkerOptions options_;
  std::int64_t heard_ = 0, most_waiting_ = 0;
  int blocks_ = 0, line_ = 0;
  models::LiveTotals totals_;
  std::vector<std::vector<char>> leaked_;
};

}  // namespace runnel::apps::testing
