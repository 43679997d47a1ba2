// When each word of a decoded window is said.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "models/whisper/network.h"
#include "models/whisper/word_timing.h"

namespace runnel::models::whisper {

/// Runs the text tokens through the decoder once more, without timestamps, and follows its
/// alignment heads. The session must still hold the window's encoding; `start_sequence` as
/// WindowDecoder has it; `logprobs` one a text token; `frames`: mel frames of audio in the window.
/// A word's probability is the mean of its tokens' when they were generated.
std::vector<TimedWord> align_words(Session& session, std::span<const int> start_sequence,
                                   std::span<const int> text_tokens,
                                   std::span<const float> logprobs, int frames,
                                   std::string_view language);

}  // namespace runnel::models::whisper
