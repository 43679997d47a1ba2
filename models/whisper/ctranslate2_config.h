// The sizes of a CTranslate2 file of Whisper.
#pragma once

#include "engine/ctranslate2_checkpoint.h"
#include "models/whisper/config.h"

namespace runnel::models::whisper {

/// Validated, and everything in the file is something that the network has: throws
/// std::runtime_error in one line for another model, for settings other than Whisper's and for
/// tensors that Whisper doesn't have.
Config ctranslate2_config(const engine::CTranslate2Checkpoint& file);

}  // namespace runnel::models::whisper
