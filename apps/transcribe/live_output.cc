#include "apps/transcribe/live_output.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "apps/report.h"
#include "apps/text.h"
#include "apps/transcribe/rounded_times.h"
#include "apps/transcribe/transcript_console.h"

namespace runnel::apps {
namespace {

using models::LiveEvent;
using nlohmann::ordered_json;

constexpr const char* kClearRest = "\x1b[K";   // of the line
constexpr const char* kClearBelow = "\x1b[J";  // and all lines below
constexpr const char* kDim = "\x1b[2m";
constexpr const char* kPlain = "\x1b[0m";
constexpr int kUsualColumns = 80;

double milliseconds(double seconds) { return std::round(seconds * 1e3) / 1e3; }
double score(double value) { return std::round(value * 1e6) / 1e6; }

class LiveJsonl : public LiveOutput {
 public:
  LiveJsonl(TextOutput output, const TranscriptInfo& info)
      : output_(std::move(output)),
        source_(info.input),
        channel_(info.channel),
        random_weights_(info.random_weights) {
    output_.begin();
  }
  void event(const TimedEvent& event) override {
    output_.write(dump(live_event_json(event, source_, random_weights_, channel_)) + "\n");
  }

 private:
  TextOutput output_;
  const std::string source_;
  const int channel_;
  const bool random_weights_;
};

class LiveSegments : public LiveOutput {
 public:
  explicit LiveSegments(std::unique_ptr<TranscriptWriter> writer) : writer_(std::move(writer)) {}
  void event(const TimedEvent& timed) override {
    if (timed.event.kind == LiveEvent::Kind::kPartial || timed.event.words.empty()) return;
    models::Segment segment = segment_of(timed.event);
    segment.id = next_id_++;
    writer_->segment(segment);
  }
  void finish(const TranscriptEnd& end) override { writer_->finish(end); }

 private:
  const std::unique_ptr<TranscriptWriter> writer_;
  int next_id_ = 0;
};

int terminal_columns() {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 2) return kUsualColumns;
  return size.ws_col;
}

class LiveTerminal : public LiveOutput {
 public:
  LiveTerminal(std::shared_ptr<LiveScreen> screen, const TranscriptInfo& info,
               const std::string& tag, bool colors)
      : screen_(std::move(screen)),
        source_(screen_->add_source()),
        tag_(tag.empty() ? "" : "[" + one_line(tag) + "] "),
        channel_(channel_tag(info)),
        lines_(TextOutput::standard_output(), info, colors, nullptr) {}

  void event(const TimedEvent& timed) override {
    const LiveEvent& event = timed.event;
    if (event.kind == LiveEvent::Kind::kPartial) {
      const int columns = terminal_columns() - 1 - display_width(tag_ + channel_);
      screen_->show(source_, tag_ + channel_ + running_line(event, std::max(columns, 1)));
      return;
    }
    screen_->finish(source_, event.words.empty() ? "" : tag_ + lines_.line(segment_of(event)));
  }

 private:
  const std::shared_ptr<LiveScreen> screen_;
  const std::size_t source_;
  const std::string tag_, channel_;
  TranscriptConsole lines_;
};

/// Where the UTF-8 character that begins at `at` ends.
std::size_t next_character(const std::string& text, std::size_t at) {
  do {
    ++at;
  } while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80);
  return at;
}

/// Columns of the character at `at`: two from U+1100 on, where the wide ones begin. Too many for
/// some; a line that is too short does no harm.
int columns_of(const std::string& text, std::size_t at) {
  const auto lead = static_cast<unsigned char>(text[at]);
  if (lead < 0xE1) return 1;
  if (lead > 0xE1) return 2;
  return at + 1 < text.size() && static_cast<unsigned char>(text[at + 1]) >= 0x84 ? 2 : 1;
}

}  // namespace

ordered_json live_event_json(const TimedEvent& timed, const std::string& source,
                             bool random_weights, int channel) {
  const LiveEvent event = rounded_times(timed.event, 1000);
  const bool final = event.kind == LiveEvent::Kind::kFinal;
  ordered_json tokens = ordered_json::array(), words = ordered_json::array();
  for (const auto& word : event.words) {
    for (const int token : word.tokens) tokens.push_back(token);
    words.push_back({{"word", word.text},
                     {"start", milliseconds(word.start)},
                     {"end", milliseconds(word.end)},
                     {"probability", score(word.probability)}});
  }
  ordered_json json = {{"type", final ? "final" : "partial"}, {"source", source}};
  if (channel > 0) json["channel"] = channel;
  json.update({{"id", event.line},
               {"start", milliseconds(event.start)},
               {"end", milliseconds(event.end)},
               {"text", event.text()},
               {"committed", event.committed_text()},
               {"committed_words", event.committed},
               {"tokens", std::move(tokens)},
               {"confidence", score(event.confidence)},
               {"emitted_at", milliseconds(event.heard)},
               {"emitted_wall", milliseconds(1e-9 * double(timed.emitted_ns - timed.start_ns))},
               {"language", event.language},
               {"words", std::move(words)}});
  if (event.ends_utterance) json["speech_end"] = milliseconds(event.speech_end);
  if (random_weights) json["random_weights"] = true;
  return json;
}

models::Segment segment_of(const LiveEvent& event) {
  models::Segment segment;
  segment.id = event.line;
  segment.start = event.start;
  segment.end = event.end;
  segment.text = event.text();
  segment.compression_ratio = models::whisper::compression_ratio(segment.text);
  double logprob = 0;
  for (const auto& word : event.words) {
    segment.tokens.insert(segment.tokens.end(), word.tokens.begin(), word.tokens.end());
    segment.words.push_back({word.text, word.start, word.end, word.probability});
    logprob += std::log(std::max(double(word.probability), 1e-10)) / double(event.words.size());
  }
  segment.avg_logprob = logprob;
  return segment;
}

std::string running_line(const LiveEvent& event, int columns) {
  const std::string committed = one_line(event.committed_text());
  const std::string text = one_line(event.text());
  int width = 0;
  for (std::size_t at = 0; at < text.size(); at = next_character(text, at)) {
    width += columns_of(text, at);
  }
  std::size_t begin = 0;
  while (begin < text.size() && width > columns) {
    width -= columns_of(text, begin);
    begin = next_character(text, begin);
  }
  // The committed text begins the whole one.
  const std::size_t open = std::clamp(committed.size(), begin, text.size());
  return text.substr(begin, open - begin) + kDim + text.substr(open) + kPlain;
}

std::unique_ptr<LiveOutput> make_live_jsonl(TextOutput output, const TranscriptInfo& info) {
  return std::make_unique<LiveJsonl>(std::move(output), info);
}

std::unique_ptr<LiveOutput> make_live_segments(std::unique_ptr<TranscriptWriter> writer) {
  return std::make_unique<LiveSegments>(std::move(writer));
}

std::unique_ptr<LiveOutput> make_live_terminal(std::shared_ptr<LiveScreen> screen,
                                               const TranscriptInfo& info, const std::string& tag,
                                               bool colors) {
  return std::make_unique<LiveTerminal>(std::move(screen), info, tag, colors);
}

// The screen.

std::size_t LiveScreen::add_source() {
  running_.emplace_back();
  return running_.size() - 1;
}

void LiveScreen::show(std::size_t source, const std::string& line) {
  running_[source] = line;
  if (in_place_) redraw({});
}

void LiveScreen::finish(std::size_t source, const std::string& line) {
  running_[source].clear();
  if (in_place_) {
    redraw(line);
  } else if (!line.empty()) {
    output_.write(line + "\n");
  }
}

/// Nothing is cleared before it is written: what stays the same is written over itself and doesn't
/// flicker.
void LiveScreen::redraw(const std::string& finished) {
  std::string text = drawn_ > 1 ? "\x1b[" + std::to_string(drawn_ - 1) + "A\r" : "\r";
  if (!finished.empty()) text += finished + kClearRest + "\n";
  drawn_ = 0;
  for (const std::string& line : running_) {
    if (line.empty()) continue;
    text += (drawn_ > 0 ? "\n" : "") + line + kClearRest;
    ++drawn_;
  }
  output_.write(text + kClearBelow);
}

}  // namespace runnel::apps
