#include "apps/transcribe/live_output.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/apps/transcribe/timed_events.h"

namespace runnel::apps {
namespace {

using testing::event_of;
using testing::kFinal;
using testing::kPartial;

TEST(LiveOutput, AnEventsJsonHoldsItsTextTimesTokensAndWhatIsCommitted) {
  TimedEvent timed = event_of(kPartial, {"ask", "not"}, 1, 2.5, 3.0);
  timed.start_ns = 1'000'000'000;
  timed.event.line = 4;
  timed.event.end = 2;
  timed.event.confidence = 0.75;
  const auto json = live_event_json(timed, "mic", false);
  EXPECT_EQ(json.at("type"), "partial");
  EXPECT_EQ(json.at("source"), "mic");
  EXPECT_EQ(json.at("id"), 4);
  EXPECT_EQ(json.at("text"), "ask not");
  EXPECT_EQ(json.at("committed"), "ask");
  EXPECT_EQ(json.at("end"), 2.0);
  EXPECT_EQ(json.at("emitted_at"), 2.5);
  EXPECT_EQ(json.at("emitted_wall"), 2.0);
  EXPECT_EQ(json.at("confidence"), 0.75);
  EXPECT_EQ(json.at("tokens"), (std::vector<int>{0, 100}));
  EXPECT_EQ(json.at("words").size(), 2u);
  EXPECT_FALSE(json.contains("random_weights"));
  EXPECT_EQ(live_event_json(timed, "mic", true).at("random_weights"), true);
}

TEST(LiveOutput, TheRunningLineDimsWhatMayChangeAndShowsItsEnd) {
  const TimedEvent timed = event_of(kPartial, {"one", "two", "three"}, 2, 3, 3);
  EXPECT_EQ(running_line(timed.event, 80), "one two\x1b[2m three\x1b[0m");
  EXPECT_EQ(running_line(timed.event, 9), "two\x1b[2m three\x1b[0m");
  EXPECT_EQ(running_line(timed.event, 3), "\x1b[2mree\x1b[0m");
}

TEST(LiveOutput, TheRunningLineCannotCommandTheTerminalAndCountsWideCharacters) {
  EXPECT_EQ(running_line(event_of(kPartial, {"a\x1b[2Jb"}, 1, 1, 1).event, 80),
            "a [2Jb\x1b[2m\x1b[0m");
  EXPECT_EQ(running_line(event_of(kPartial, {"日本語"}, 1, 1, 1).event, 5), "本語\x1b[2m\x1b[0m");
}

/// What a terminal shows after these bytes; it knows what LiveScreen uses.
std::vector<std::string> shown_by_a_terminal(const std::string& bytes) {
  std::vector<std::string> lines = {""};
  std::size_t row = 0, column = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] == '\r') {
      column = 0;
    } else if (bytes[i] == '\n') {
      column = 0;
      if (++row == lines.size()) lines.emplace_back();
    } else if (bytes[i] == '\x1b') {
      const std::size_t end = bytes.find_first_of("AJKm", i);
      const std::string number = bytes.substr(i + 2, end - i - 2);
      if (bytes[end] == 'A') row -= std::stoul(number);
      if (bytes[end] != 'A' && bytes[end] != 'm') lines[row].resize(column);
      if (bytes[end] == 'J') lines.resize(row + 1);
      i = end;
    } else {
      if (lines[row].size() <= column) lines[row].resize(column + 1, ' ');
      lines[row][column++] = bytes[i];
    }
  }
  return lines;
}

TEST(LiveScreen, FinishedLinesStayAboveTheRunningOnesOfEachSource) {
  const auto path = std::filesystem::temp_directory_path() / "runnel-live-screen-test.txt";
  LiveScreen screen(TextOutput::file(path), true);
  const auto one = screen.add_source(), two = screen.add_source();
  screen.show(one, "hello");
  screen.show(two, "good morning");
  screen.show(one, "hello wor");
  screen.finish(two, "good morning.");
  screen.show(two, "how");
  screen.show(one, "hello world");
  screen.finish(one, "hello world!");
  std::ifstream file(path);
  const std::string bytes(std::istreambuf_iterator<char>(file), {});
  std::filesystem::remove(path);
  EXPECT_EQ(shown_by_a_terminal(bytes),
            (std::vector<std::string>{"good morning.", "hello world!", "how"}));
}

}  // namespace
}  // namespace runnel::apps
