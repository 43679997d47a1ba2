// Where Whisper's special tokens lie, and their names.
#pragma once

#include <string>

#include "models/whisper/tokenizer.h"

namespace runnel::models::whisper {

struct SpecialLayout {
  SpecialTokens ids;
  int languages = 0;
  int vocab_size = 0;
  /// With those behind the timestamps, which some fine-tunes add and which are not used.
  int tokens_in_file = 0;
  /// Text tokens that a file must have. The last multilingual one is the empty string, and some
  /// files leave it out.
  int required_tokens = 0;

  int text_tokens() const noexcept { return ids.end_of_text; }
};

/// The specials behind that many text tokens; public models have 50256 or 50257, and 99 or 100.
SpecialLayout layout_behind(int text_tokens, int languages);
/// Of a public model: 51864 (English only), 51865, or 51866 (with Cantonese). Throws
/// std::runtime_error for any other size.
SpecialLayout layout_of(int vocab_size);
/// The same, or of a fine-tune with a few tokens more: then which public one is below them shows in
/// the id of <|notimestamps|> (−1: unknown). `last_id`: the highest that the file names.
SpecialLayout layout_of(int vocab_size, int no_timestamps, int last_id);

/// "<|en|>", "<|1.20|>"; empty outside the specials.
std::string special_name(const SpecialLayout& layout, int token);

}  // namespace runnel::models::whisper
