#include "apps/transcribe/live_stats.h"

#include <gtest/gtest.h>

#include "tests/apps/transcribe/timed_events.h"

namespace runnel::apps {
namespace {

using testing::event_of;
using testing::kFinal;
using testing::kPartial;

TEST(LiveStats, LagsAreFromTheWordsEndToItsCommit) {
  LiveStats stats(true);
  stats.add(event_of(kPartial, {"a", "b"}, 1, 2.0, 2.5));        // a ended at 1
  TimedEvent last = event_of(kFinal, {"a", "b"}, 2, 3.0, 3.25);  // b ended at 2
  last.event.speech_end = 2.25;
  last.event.pass_seconds = 0.125;
  stats.add(last);
  EXPECT_EQ(stats.word_lag().stats().count, 2);
  EXPECT_NEAR(stats.word_lag().stats().min_ms, 1250, 1);
  EXPECT_NEAR(stats.word_lag().stats().max_ms, 1500, 1);
  EXPECT_NEAR(stats.word_lag_unaware().stats().max_ms, 1000, 1);
  EXPECT_NEAR(stats.end_to_final().stats().max_ms, 1000, 1);
  EXPECT_NEAR(stats.last_pass().stats().max_ms, 125, 1);
}

TEST(LiveStats, WallClockDelaysAreOnlyToldOfPacedAudio) {
  LiveStats stats(false);
  stats.add(event_of(kFinal, {"a"}, 1, 2.0, 0.01));
  EXPECT_EQ(stats.word_lag().stats().count, 0);
  EXPECT_EQ(stats.end_to_final().stats().count, 0);
  EXPECT_EQ(stats.word_lag_unaware().stats().count, 1);
}

TEST(LiveStats, ARetractionIsAShownWordThatChangesOrGoes) {
  LiveStats stats(true);
  stats.add(event_of(kPartial, {"I", "scream"}, 0, 1, 1));
  stats.add(event_of(kPartial, {"ice", "cream", "is"}, 0, 2, 2));  // two changed
  stats.add(event_of(kFinal, {"ice", "cream"}, 2, 3, 3));          // one gone
  EXPECT_EQ(stats.shown_words(), 5);
  EXPECT_EQ(stats.retracted_words(), 3);
  EXPECT_DOUBLE_EQ(stats.retraction_rate(), 0.6);
}

TEST(LiveStats, ALineThatIsCutRetractsNothing) {
  LiveStats stats(true);
  stats.add(event_of(kPartial, {"a", "b", "c"}, 2, 4, 4));
  TimedEvent cut = event_of(kFinal, {"a"}, 1, 4, 4);
  cut.event.ends_utterance = false;
  stats.add(cut);
  stats.add(event_of(kFinal, {"b", "c"}, 2, 5, 5));
  EXPECT_EQ(stats.retracted_words(), 0);
  EXPECT_EQ(stats.shown_words(), 3);
  EXPECT_EQ(stats.final_words(), 3);
  EXPECT_EQ(stats.word_lag().stats().count, 3);
}

}  // namespace
}  // namespace runnel::apps
