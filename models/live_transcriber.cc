#include "models/live_transcriber.h"

#include <algorithm>
#include <iterator>
#include <span>

namespace runnel::models {
namespace {

std::string join(std::span<const LiveWord> words) {
  std::string text;
  for (const auto& word : words) text += word.text;
  if (text.starts_with(' ')) text.erase(0, 1);
  return text;
}

}  // namespace

std::string LiveEvent::text() const { return join(words); }

std::string LiveEvent::committed_text() const {
  return join(std::span(words).first(std::size_t(committed)));
}

bool ends_sentence(std::string_view text) {
  static constexpr std::string_view kEnds[] = {".", "?", "!", "。", "？", "！", "…"};
  return std::any_of(std::begin(kEnds), std::end(kEnds),
                     [&](std::string_view end) { return text.ends_with(end); });
}

}  // namespace runnel::models
