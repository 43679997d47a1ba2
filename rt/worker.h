// Threads that do the engine's work.
#pragma once

#include <exception>
#include <functional>
#include <initializer_list>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>

namespace runnel::rt {

struct WorkerOptions {
  std::string name = "runnel";  // shown by top and gdb; 15 characters at most are kept
  int realtime_priority = 0;    // SCHED_FIFO 1 to 99; 0: an ordinary thread
  bool lock_memory = false;     // mlockall for the whole process
};

/// What the system granted of what was asked.
struct WorkerGrants {
  bool realtime = false;
  bool memory_locked = false;
  bool denormals_flushed = false;
  std::string summary;  // one line for humans: what was granted, and why not
};

/// A named thread that runs `body` once. The body looks at its stop token, and where it waits, a
/// std::stop_callback of its own wakes it; what it throws is kept.
class Worker {
 public:
  using Body = std::function<void(std::stop_token)>;

  /// Returns when the thread has asked for its grants and is about to run `body`. A refusal is no
  /// error: see grants(). Throws std::system_error that names the thread if it cannot be made.
  Worker(const WorkerOptions& options, Body body);
  /// Asks to stop and waits for the end.
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  const WorkerGrants& grants() const noexcept { return grants_; }
  void request_stop() noexcept { thread_.request_stop(); }
  /// Waits for the end and rethrows what the body threw. The owner's thread.
  void join();

 private:
  void apply(const WorkerOptions& options);

  WorkerGrants grants_;
  std::exception_ptr failure_;  // written by the thread, read after join
  std::jthread thread_;
};

/// Waits for the end of all that are there, then rethrows what the first of them threw.
void join_all(std::initializer_list<std::optional<Worker>*> workers);

}  // namespace runnel::rt
