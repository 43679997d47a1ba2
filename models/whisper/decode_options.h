// Checks of what a caller asks for.
#pragma once

#include "models/whisper/transcriber.h"

namespace runnel::models::whisper {

/// Throws std::invalid_argument: which option, what was expected, what was found.
void check(const DecodeOptions& options, const Model& model);

}  // namespace runnel::models::whisper
