#include "apps/transcribe/transcript_console.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "apps/text.h"
#include "apps/transcribe/rounded_times.h"

namespace runnel::apps {
namespace {

constexpr const char* kPlain = "\x1b[0m";

/// One line that keeps its ends, where spaces part words.
std::string piece(std::string_view text) {
  const std::string bare = one_line(text);
  if (bare.empty()) return text.empty() ? "" : " ";
  const bool before = text.starts_with(' ');
  const bool after = text.ends_with(' ');
  return (before ? " " : "") + bare + (after ? " " : "");
}

/// Whether the bytes end with a whole UTF-8 sequence: a token may end within a character.
bool is_whole(std::string_view bytes) {
  std::size_t rest = 0;  // continuation bytes at the end
  while (rest < bytes.size() && rest < 4 && (bytes[bytes.size() - 1 - rest] & 0xC0) == 0x80) ++rest;
  if (rest == bytes.size()) return rest == 0;
  const auto lead = static_cast<unsigned char>(bytes[bytes.size() - 1 - rest]);
  const std::size_t wanted = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : lead >= 0xC0 ? 1 : 0;
  return rest >= wanted;
}

}  // namespace

std::string confidence_colour(double probability) {
  struct Step {
    double below;
    int colour;  // of xterm's 256
  };
  static constexpr std::array kSteps = {Step{0.2, 196}, Step{0.4, 202}, Step{0.6, 214},
                                        Step{0.8, 226}, Step{0.95, 154}};
  int colour = 46;
  for (const Step& step : kSteps) {
    if (!(probability >= step.below)) {
      colour = step.colour;
      break;
    }
  }
  return "\x1b[38;5;" + std::to_string(colour) + "m";
}

TranscriptConsole::TranscriptConsole(TextOutput output, const TranscriptInfo& info, bool colors,
                                     const models::whisper::Tokenizer* tokenizer)
    : output_(std::move(output)), tag_(channel_tag(info)), colors_(colors), tokenizer_(tokenizer) {
  if (info.random_weights) output_.write("[" + random_weights_notice(info) + "]\n");
}

std::string TranscriptConsole::coloured(const models::Segment& segment) const {
  std::string line;
  const auto add = [&](std::string_view text, double probability) {
    std::string shown = piece(text);
    if (line.empty()) shown.erase(0, shown.find_first_not_of(' '));
    if (!shown.empty()) line += confidence_colour(probability) + shown;
  };
  if (!segment.words.empty()) {
    for (const models::Word& word : segment.words) add(word.text, word.probability);
  } else if (tokenizer_ && segment.token_logprobs.size() == segment.tokens.size()) {
    std::string bytes;  // of tokens that only together are characters
    double logprob = 0;
    for (std::size_t i = 0; i < segment.tokens.size(); ++i) {
      const std::string more = tokenizer_->decode_bytes(std::span(&segment.tokens[i], 1));
      if (more.empty()) continue;
      bytes += more;
      logprob = std::min(logprob, double(segment.token_logprobs[i]));
      const bool is_last = i + 1 == segment.tokens.size();
      if (!is_whole(bytes) && !is_last) continue;
      add(bytes, std::exp(logprob));
      bytes.clear();
      logprob = 0;
    }
  }
  return line.empty() ? one_line(segment.text) : line + kPlain;
}

void TranscriptConsole::segment(const models::Segment& segment) {
  output_.write(line(segment) + "\n");
}

std::string TranscriptConsole::line(const models::Segment& found) const {
  const models::Segment segment = rounded_times(found, 1000);
  return "[" + clock_time(segment.start) + " --> " + clock_time(segment.end) + "]  " + tag_ +
         (colors_ ? coloured(segment) : one_line(segment.text));
}

void TranscriptConsole::finish(const TranscriptEnd&) {}

}  // namespace runnel::apps
