// At which scale floats are: ±1, or that of 16-bit integers.
#pragma once

#include <cstdint>

namespace runnel::rt {

/// Follows samples as they were stored. Some programs write 16-bit samples as floats without
/// dividing them.
class FloatScale {
 public:
  static constexpr float kSixteenBit = 1.0f / 32768;

  void add(const float* samples, std::int64_t count) noexcept;
  /// The peak is far beyond ±1, but within ±32768, and not a few broken samples made it.
  bool is_16_bit() const noexcept;
  float peak() const noexcept { return peak_; }

 private:
  float peak_ = 0;
  std::int64_t samples_ = 0, beyond_ = 0;
};

}  // namespace runnel::rt
