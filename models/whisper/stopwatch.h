// Wall time since it was made.
#pragma once

#include <chrono>

namespace runnel::models::whisper {

class Stopwatch {
 public:
  double seconds() const noexcept {
    return std::chrono::duration<double>(Clock::now() - start_).count();
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

}  // namespace runnel::models::whisper
