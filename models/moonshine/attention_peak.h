// Where in the audio a token was spoken, told from cross-attention.
#pragma once

#include <span>

namespace runnel::models::moonshine {

/// The peak of one head's attention over the frames.
struct AttentionPeak {
  float centre = 0;  // frames; centre of mass around the largest weight
  float share = 0;   // of the attention that lies there, 0 to 1
};

/// Of softmax weights [frames], frames ≥ 1.
AttentionPeak attention_peak(std::span<const float> weights) noexcept;

/// What the heads agree on: the median of their centres, each counted by the square of its share,
/// so that heads which look everywhere have no say. Sorts the peaks; not empty.
float agreed_centre(std::span<AttentionPeak> peaks) noexcept;

}  // namespace runnel::models::moonshine
