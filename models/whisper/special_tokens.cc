#include "models/whisper/special_tokens.h"

#include <array>
#include <cstdio>
#include <stdexcept>

namespace runnel::models::whisper {
namespace {

constexpr int kTimestamps = 1501;  // 0 to 30 s in steps of 20 ms

}  // namespace

SpecialLayout layout_behind(int text_tokens, int languages) {
  SpecialLayout layout{
      .ids = {}, .languages = languages, .vocab_size = 0, .required_tokens = text_tokens};
  SpecialTokens& ids = layout.ids;
  ids.end_of_text = text_tokens;
  ids.start_of_transcript = text_tokens + 1;
  ids.first_language = text_tokens + 2;
  ids.translate = ids.first_language + languages;
  ids.transcribe = ids.translate + 1;
  ids.start_of_lm = ids.translate + 2;
  ids.start_of_prev = ids.translate + 3;
  ids.no_speech = ids.translate + 4;
  ids.no_timestamps = ids.translate + 5;
  ids.first_timestamp = ids.translate + 6;
  layout.vocab_size = layout.tokens_in_file = ids.first_timestamp + kTimestamps;
  return layout;
}

SpecialLayout layout_of(int vocab_size) { return layout_of(vocab_size, -1, -1); }

SpecialLayout layout_of(int vocab_size, int no_timestamps, int last_id) {
  std::array layouts = {layout_behind(50256, 99), layout_behind(50257, 99),
                        layout_behind(50257, 100)};
  const int largest = layouts.back().vocab_size;
  for (SpecialLayout& layout : layouts) {
    layout.required_tokens = 50256;
    // A size that a public model has is another one's with more tokens only if these are named:
    // otherwise the vocabulary is another model's.
    const bool has_more = vocab_size > largest || last_id >= layout.vocab_size;
    if (layout.vocab_size >= vocab_size || layout.ids.no_timestamps != no_timestamps) continue;
    if (!has_more) continue;
    layout.tokens_in_file = vocab_size;
    return layout;
  }
  for (const SpecialLayout& layout : layouts) {
    if (layout.vocab_size == vocab_size) return layout;
  }
  throw std::runtime_error(
      "vocabulary size: expected 51864 (English only), 51865 or 51866, or more with a tokenizer "
      "that names <|notimestamps|>, found " +
      std::to_string(vocab_size));
}

std::string special_name(const SpecialLayout& layout, int token) {
  const SpecialTokens& ids = layout.ids;
  if (token < ids.end_of_text || token >= layout.vocab_size) return {};
  if (token >= ids.first_timestamp) {
    const int hundredths = 2 * (token - ids.first_timestamp);
    char text[32];
    std::snprintf(text, sizeof text, "<|%d.%02d|>", hundredths / 100, hundredths % 100);
    return text;
  }
  if (token >= ids.first_language && token < ids.translate) {
    return "<|" + std::string(languages()[token - ids.first_language].first) + "|>";
  }
  if (token == ids.end_of_text) return "<|endoftext|>";
  if (token == ids.start_of_transcript) return "<|startoftranscript|>";
  if (token == ids.translate) return "<|translate|>";
  if (token == ids.transcribe) return "<|transcribe|>";
  if (token == ids.start_of_lm) return "<|startoflm|>";
  if (token == ids.start_of_prev) return "<|startofprev|>";
  return token == ids.no_speech ? "<|nospeech|>" : "<|notimestamps|>";
}

}  // namespace runnel::models::whisper
