// The JSON files of a Whisper folder. Errors are std::runtime_error in one line: the file, the key,
// what was expected, what was found.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "models/whisper/config.h"

namespace runnel::models::whisper {

/// How a file spells the keys of Config, for errors.
enum class KeyNames { kHuggingFace, kGgml };

/// Throws if a value is outside of what the code is written for.
void validate(const Config& config, KeyNames names, const std::string& label);

/// config.json, validated.
Config parse_config(std::string_view json, const std::string& label);

/// What a file says of generation; a key that is missing or null is nothing.
struct GenerationKeys {
  std::optional<std::vector<int>> suppress_tokens;
  std::optional<std::vector<int>> begin_suppress_tokens;
  std::optional<std::vector<std::pair<int, int>>> alignment_heads;
  std::optional<int> max_initial_timestamp_index;
};

/// generation_config.json, or config.json, where older checkpoints and CTranslate2's have these
/// keys. Tokens are checked to be in the vocabulary, heads to be in the decoder.
GenerationKeys parse_generation(std::string_view json, const Config& config,
                                const std::string& label);

/// preprocessor_config.json: there is one front end, so it must be this one.
void check_preprocessor(std::string_view json, const Config& config, const std::string& label);

}  // namespace runnel::models::whisper
