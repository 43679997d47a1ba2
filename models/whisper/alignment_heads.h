// The decoder heads whose cross-attention follows the audio.
#pragma once

#include <utility>
#include <vector>

#include "models/whisper/config.h"

namespace runnel::models::whisper {

/// For a checkpoint that doesn't name them: {layer, head} as published for the public model of
/// these sizes, else all heads of the second half of the decoder's layers.
std::vector<std::pair<int, int>> default_alignment_heads(const Config& config);

}  // namespace runnel::models::whisper
