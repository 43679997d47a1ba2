// Memory or threads that the system refuses in the middle of a construction.
#pragma once

namespace runnel::rt::testing {

enum class Resource { kMemory, kThread };

/// While it lives, the `at`-th request of any thread, counted from 1, is refused: operator new
/// throws, a thread cannot be made. One at a time. The functions are replaced for the whole program
/// by linking runnel_refusal.
class Refusal {
 public:
  Refusal(Resource resource, long at) noexcept;
  ~Refusal();
  Refusal(const Refusal&) = delete;
  Refusal& operator=(const Refusal&) = delete;

  /// Whether there were so many requests.
  static bool met() noexcept;
};

/// Blocks of operator new that were not deleted.
long live_blocks() noexcept;

}  // namespace runnel::rt::testing
