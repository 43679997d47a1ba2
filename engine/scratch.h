// What the tasks of layers need for themselves while they run.
#pragma once

#include <algorithm>
#include <cstddef>

namespace runnel::engine {

/// How much scratch a task asks for, at most. A thread runs one task after the other, so layers
/// together need what the neediest of them does: `a | b`.
class ScratchNeed {
 public:
  constexpr ScratchNeed() = default;
  template <class T>
  static constexpr ScratchNeed of(std::size_t count) {
    return ScratchNeed(count * sizeof(T));
  }

  constexpr std::size_t bytes() const noexcept { return bytes_; }
  friend constexpr ScratchNeed operator|(ScratchNeed a, ScratchNeed b) {
    return ScratchNeed(std::max(a.bytes_, b.bytes_));
  }

 private:
  constexpr explicit ScratchNeed(std::size_t bytes) : bytes_(bytes) {}

  std::size_t bytes_ = 0;
};

}  // namespace runnel::engine
