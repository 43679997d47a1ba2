// Analysis and synthesis windows.
#pragma once

#include <vector>

namespace runnel::dsp {

/// The shapes of a window; all peak at 1 in the middle.
enum class WindowKind {
  kHann,         // ½ − ½·cos
  kSqrtHann,     // its square root: used twice it overlaps to a constant
  kHamming,      // 0.54 − 0.46·cos
  kRectangular,  // all ones
};

/// `length` values of the periodic (DFT-even) window: value i is that of the symmetric window of
/// length + 1, as torch.hann_window's default. Computed in double. Throws std::invalid_argument
/// unless length ≥ 1.
std::vector<float> make_window(WindowKind kind, int length);

}  // namespace runnel::dsp
