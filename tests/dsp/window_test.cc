#include "dsp/window.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <stdexcept>

namespace runnel::dsp {
namespace {

TEST(Window, IsPeriodicAndPeaksInTheMiddle) {
  for (const WindowKind kind : {WindowKind::kHann, WindowKind::kSqrtHann, WindowKind::kHamming}) {
    const auto window = make_window(kind, 400);
    ASSERT_EQ(window.size(), 400u);
    EXPECT_FLOAT_EQ(window[200], 1.0f);
    for (int i = 1; i < 400; ++i) EXPECT_FLOAT_EQ(window[i], window[400 - i]);
  }
}

TEST(Window, HasTheTextbookValues) {
  for (int i = 0; i < 37; ++i) {
    const double cosine = std::cos(2.0 * std::numbers::pi * i / 37);
    EXPECT_NEAR(make_window(WindowKind::kHann, 37)[i], 0.5 - 0.5 * cosine, 1e-7);
    EXPECT_NEAR(make_window(WindowKind::kSqrtHann, 37)[i], std::sqrt(0.5 - 0.5 * cosine), 1e-7);
    EXPECT_NEAR(make_window(WindowKind::kHamming, 37)[i], 0.54 - 0.46 * cosine, 1e-7);
    EXPECT_EQ(make_window(WindowKind::kRectangular, 37)[i], 1.0f);
  }
}

TEST(Window, RefusesNoLength) {
  EXPECT_THROW(make_window(WindowKind::kHann, 0), std::invalid_argument);
}

}  // namespace
}  // namespace runnel::dsp
