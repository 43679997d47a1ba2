// What ends a wait for input: a flag, and a descriptor that poll() can wait for beside the input.
#pragma once

#include <atomic>
#include <stdexcept>

namespace runnel::rt {

/// Thrown in place of a result that an interruption left unfinished; one line.
class Interrupted : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Any thread. Whoever waits on it holds a reference, so it outlives them.
class Interrupt {
 public:
  /// Throws std::system_error if there is no descriptor left.
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  /// Also from a signal handler. It lasts until reset().
  void request() noexcept;
  void reset() noexcept;
  bool requested() const noexcept { return requested_.load(std::memory_order_relaxed); }
  /// Can be read (POLLIN) while it is requested; nobody else reads it.
  int descriptor() const noexcept { return descriptor_; }

 private:
  std::atomic<bool> requested_{false};
  static_assert(std::atomic<bool>::is_always_lock_free);  // what a signal handler may touch
  const int descriptor_;
};

}  // namespace runnel::rt
