// Another program, run without a shell.
#pragma once

#include <sys/types.h>

#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "rt/interrupt.h"

namespace runnel::rt {

/// A running child. What it writes to its standard output and error is kept; what it is fed is its
/// standard input. One thread. When we die it gets SIGPIPE at its next write, so one that streams
/// to us doesn't outlive us.
class ChildProcess {
 public:
  struct Result {
    int exit_code = -1;  // 128 + signal if one killed it
    std::string out;
    std::string err;
  };

  /// Ctrl-C at a terminal reaches both of us, or us alone, who then end the child and what it
  /// started in turn.
  enum class CtrlC { kReachesBoth, kReachesUs };

  /// Looks `words[0]` up in PATH. Throws std::runtime_error in one line if it cannot be run.
  explicit ChildProcess(const std::vector<std::string>& words, CtrlC ctrl_c = CtrlC::kReachesBoth);
  /// Kills it if it still runs.
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  /// False if it doesn't read any more.
  bool feed(std::string_view bytes);
  /// Closes its standard input.
  void end_input();
  /// Its standard output, for who reads that himself; ours until the end of wait(). What it writes
  /// to standard error meanwhile is kept up to the size of a pipe, and the rest is lost.
  int output() const noexcept { return out_; }
  /// Closes its standard input and waits for its end; `on_wait`, if any, is called about ten times
  /// a second and may throw.
  Result wait(const std::function<void()>& on_wait = {});
  /// The same, but nothing as soon as one of `stops` (or null) is requested; it then runs on.
  std::optional<Result> wait_unless(std::initializer_list<const Interrupt*> stops);

 private:
  using Stops = std::initializer_list<const Interrupt*>;
  /// −1: waits for it. False if one of `stops` is requested.
  bool take_output(int timeout_ms, Stops stops);
  Result reap();

  pid_t pid_ = -1;
  const bool has_group_;  // of its own
  int in_ = -1;
  int out_ = -1;
  int err_ = -1;
  Result result_;
};

}  // namespace runnel::rt
