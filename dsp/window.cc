#include "dsp/window.h"

#include <cmath>
#include <numbers>
#include <stdexcept>
#include <string>

namespace runnel::dsp {
namespace {

double window_value(WindowKind kind, double turns) {
  const double cosine = std::cos(2.0 * std::numbers::pi * turns);
  switch (kind) {
    case WindowKind::kHann:
      return 0.5 - 0.5 * cosine;
    case WindowKind::kSqrtHann:
      return std::sin(std::numbers::pi * turns);
    case WindowKind::kHamming:
      return 0.54 - 0.46 * cosine;
    case WindowKind::kRectangular:
      return 1.0;
  }
  throw std::invalid_argument("unknown window kind " + std::to_string(int(kind)));
}

}  // namespace

std::vector<float> make_window(WindowKind kind, int length) {
  if (length < 1) {
    throw std::invalid_argument("window length must be positive, not " + std::to_string(length));
  }
  std::vector<float> window(length);
  for (int i = 0; i < length; ++i) window[i] = float(window_value(kind, double(i) / length));
  return window;
}

}  // namespace runnel::dsp
