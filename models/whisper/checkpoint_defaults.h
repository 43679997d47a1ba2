// What a checkpoint leaves unsaid.
#pragma once

#include "models/whisper/config.h"
#include "models/whisper/tokenizer.h"

namespace runnel::models::whisper {

/// OpenAI's defaults: suppressed are symbols that nobody says and all special tokens but the end
/// and timestamps; at the first step also a lone space and the end.
GenerationConfig default_generation(const Config& config, const Tokenizer& tokenizer);

}  // namespace runnel::models::whisper
