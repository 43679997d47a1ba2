// One clock for every delay in the engine: CLOCK_MONOTONIC in nanoseconds.
#pragma once

#include <cstdint>

namespace runnel::rt {

inline constexpr std::int64_t kNsPerSecond = 1'000'000'000;

/// Nanoseconds on std::chrono::steady_clock. Any thread, real-time safe (vDSO, no system call).
std::int64_t now_ns() noexcept;

/// Sleeps until `now_ns()` reaches `deadline_ns`; returns at once if it has passed. Signals do not
/// shorten it. Never from a device callback.
void sleep_until_ns(std::int64_t deadline_ns) noexcept;

/// The duration of `frames` samples (may be negative) in ns, exact over centuries and rounded
/// towards zero.
constexpr std::int64_t frames_to_ns(std::int64_t frames, int rate_hz) noexcept {
  // Whole seconds apart, because frames · 10⁹ overflows after two days at 48 kHz.
  return frames / rate_hz * kNsPerSecond + frames % rate_hz * kNsPerSecond / rate_hz;
}

/// The most frames whose duration, by frames_to_ns, is at most `ns` (not negative).
constexpr std::int64_t ns_to_frames(std::int64_t ns, int rate_hz) noexcept {
  return ns / kNsPerSecond * rate_hz + ((ns % kNsPerSecond + 1) * rate_hz - 1) / kNsPerSecond;
}

}  // namespace runnel::rt
