#include "models/live_transcriber.h"

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

}  // namespace runnel::models
