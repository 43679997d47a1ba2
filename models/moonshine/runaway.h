// Hypotheses that a decoder makes up without hearing anything new.
#pragma once

#include <span>

namespace runnel::models::moonshine {

/// How many of the last tokens only repeat those before them while attention doesn't move on as it
/// would if they were spoken again; 0: none. `frames`: where each token's attention is centred.
int looping_tokens(std::span<const int> tokens, std::span<const float> frames) noexcept;

/// How many of the first tokens were heard: before attention stops moving on, as it does where a
/// decoder makes words up after the last that it can hear. All of them if it never stops.
int heard_tokens(std::span<const float> frames) noexcept;

}  // namespace runnel::models::moonshine
