// From the mouth to the screen: what LiveRecord keeps of a run, and the clock that leaves out the
// waiting.

#include "apps/bench/live_record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "apps/bench/accelerated_run.h"
#include "rt/clock.h"
#include "tests/apps/bench/live_fakes.h"

namespace runnel::apps {
namespace {

using testing::PacedTalker;

constexpr auto kPartial = models::LiveEvent::Kind::kPartial;
constexpr auto kFinal = models::LiveEvent::Kind::kFinal;

/// Words one second long from 0 on, printed at `emitted` on a clock that began at 5 s.
TimedEvent event_of(models::LiveEvent::Kind kind, const std::vector<std::string>& words,
                    int committed, double emitted, bool ends = true) {
  TimedEvent timed;
  timed.event.kind = kind;
  for (const auto& text : words) {
    const auto at = double(timed.event.words.size());
    timed.event.words.push_back({.text = text, .start = at, .end = at + 1});
  }
  timed.event.committed = committed;
  timed.event.heard = emitted - 0.01;
  timed.event.ends_utterance = kind == kFinal && ends;
  timed.origin_ns = 5'000'000'000;
  timed.emitted_ns = timed.origin_ns + std::int64_t(emitted * 1e9);
  return timed;
}

TEST(LiveRecord, AWordIsShownFirstAndSettledLater) {
  LiveRecord record;
  record.add(event_of(kPartial, {" ask", " not"}, 0, 2.0));
  record.add(event_of(kPartial, {" ask", " not", " what"}, 1, 3.0));
  EXPECT_TRUE(record.words().empty());
  record.add(event_of(kFinal, {" ask", " not", " what"}, 3, 4.0));
  ASSERT_EQ(record.words().size(), 3u);
  EXPECT_NEAR(record.words()[0].shown, 2.0, 1e-6);
  EXPECT_NEAR(record.words()[0].committed, 3.0, 1e-6);
  EXPECT_NEAR(record.words()[0].heard, 2.99, 1e-6);
  EXPECT_NEAR(record.words()[1].committed, 4.0, 1e-6);
  EXPECT_NEAR(record.words()[2].shown, 3.0, 1e-6);
  EXPECT_TRUE(record.retracted().empty());
  EXPECT_EQ(record.events().size(), 3u);
  EXPECT_EQ(record.text(), "ask not what");
}

TEST(LiveRecord, AWordThatChangesIsTakenBackAndItsSuccessorIsNew) {
  LiveRecord record;
  record.add(event_of(kPartial, {" I", " scream"}, 0, 2.0));
  record.add(event_of(kPartial, {" ice", " cream", " is"}, 0, 3.0));
  record.add(event_of(kFinal, {" ice", " cream"}, 2, 4.0));
  ASSERT_EQ(record.retracted().size(), 3u);
  EXPECT_EQ(record.retracted()[1].text, " scream");
  EXPECT_NEAR(record.retracted()[1].shown, 2.0, 1e-6);
  EXPECT_NEAR(record.retracted()[1].taken_back, 3.0, 1e-6);
  EXPECT_EQ(record.retracted()[2].text, " is");
  EXPECT_NEAR(record.words()[0].shown, 3.0, 1e-6);
}

TEST(LiveRecord, TheWordsAfterACutStayOnTheScreen) {
  LiveRecord record;
  record.add(event_of(kPartial, {" a", " b", " c"}, 2, 3.0));
  record.add(event_of(kFinal, {" a"}, 1, 3.5, false));
  record.add(event_of(kFinal, {" b", " c"}, 2, 5.0));
  EXPECT_TRUE(record.retracted().empty());
  ASSERT_EQ(record.words().size(), 3u);
  EXPECT_NEAR(record.words()[1].shown, 3.0, 1e-6);
  EXPECT_NEAR(record.words()[1].committed, 3.0, 1e-6);
  EXPECT_NEAR(record.words()[2].committed, 5.0, 1e-6);
  EXPECT_EQ(record.text(), "a b c");
}

/// A clock that only the talker puts forward.
std::int64_t clock_ns = 0;
std::int64_t now_ns() { return clock_ns; }

TEST(AcceleratedRun, LeavesOutTheWaitingAndKeepsTheDelay) {
  clock_ns = 0;
  PacedTalker talker({.every_blocks = 50, .pass_ns = 20'000'000, .clock_ns = &clock_ns});
  std::vector<TimedEvent> events;
  AcceleratedRun run(
      talker, [&](const TimedEvent& timed) { events.push_back(timed); }, now_ns);
  const std::vector<float> block(512, 0.1f);
  for (int i = 0; i < 250; ++i) run.push(block);
  EXPECT_EQ(clock_ns, 5 * 20'000'000);  // for 8 s of audio
  EXPECT_DOUBLE_EQ(run.audio_seconds(), 8.0);
  ASSERT_EQ(events.size(), 5u);
  for (const TimedEvent& timed : events) {
    EXPECT_NEAR(1e-9 * double(timed.emitted_ns) - timed.event.heard, 0.02, 1e-9);
  }
  EXPECT_NEAR(run.totals().busy_seconds, 5 * 0.02, 1e-9);
  EXPECT_EQ(talker.most_waiting(), 0);
}

TEST(AcceleratedRun, AWorkerThatIsTooSlowFallsBehindAndIsTold) {
  clock_ns = 0;
  PacedTalker talker({.block_ns = 40'000'000, .clock_ns = &clock_ns});  // for 32 ms of audio
  AcceleratedRun run(
      talker, [](const TimedEvent&) {}, now_ns);
  const std::vector<float> block(512, 0.1f);
  std::vector<double> delays;
  for (int i = 0; i < 40; ++i) {
    run.push(block);
    delays.push_back(run.delay_seconds());
  }
  EXPECT_NEAR(delays.front(), 0.04, 1e-9);
  EXPECT_NEAR(delays.back(), 0.04 + 39 * 0.008, 1e-9);
  EXPECT_EQ(talker.most_waiting(), 39 * 128);  // 8 ms each
}

}  // namespace
}  // namespace runnel::apps
