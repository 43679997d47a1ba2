// A clean stop on Ctrl-C, on SIGTERM, and when the terminal goes.
#pragma once

#include "rt/interrupt.h"
#include "rt/wakeup.h"

namespace runnel::rt {

/// While it lives, the first SIGINT, SIGTERM or SIGHUP only asks to stop. A SIGINT or SIGTERM after
/// that kills as usual; a SIGHUP does not, because a terminal that closes sends two. A SIGHUP that
/// was ignored before (nohup) stays so. System calls that block are interrupted (EINTR), but only
/// in the thread that gets the signal: what waits for input waits for interrupt(), too. One at a
/// time; made and destroyed by main.
class StopSignal {
 public:
  /// Throws std::logic_error if there is one already, std::system_error without a descriptor.
  StopSignal();
  /// Puts the former handlers back.
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  /// Any thread, real-time safe.
  bool requested() const noexcept;
  /// SIGINT, SIGTERM, SIGHUP, or 0 if none came.
  int signal_number() const noexcept;
  /// Requested by the first signal.
  const Interrupt& interrupt() const noexcept;
  /// Notified by the first signal. Main waits on it, for a signal and for whatever else it is told.
  static Wakeup& wakeup() noexcept;
};

}  // namespace runnel::rt
