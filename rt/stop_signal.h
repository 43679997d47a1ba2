// A clean stop on Ctrl-C.
#pragma once

namespace runnel::rt {

/// While it lives, the first SIGINT or SIGTERM only sets a flag, and a second one kills as usual.
/// System calls that block are interrupted (EINTR). One at a time; made and destroyed by main.
class StopSignal {
 public:
  /// Throws std::logic_error if there is one already.
  StopSignal();
  /// Puts the former handlers back.
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  /// Any thread, real-time safe.
  bool requested() const noexcept;
  /// SIGINT, SIGTERM, or 0 if none came.
  int signal_number() const noexcept;
};

}  // namespace runnel::rt
