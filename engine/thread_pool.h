// Fork and join on a fixed set of threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace runnel::engine {

/// `threads` − 1 workers and the caller. Between two runs that follow each other closely the
/// workers spin, since a decoder step forks some fifty times in milliseconds; after about 100 µs
/// without work they sleep.
///
/// One run at a time: callers on different threads wait for each other (fairly enough: a mutex held
/// for one run). A pool of one thread has no lock: it serves one caller, as its scratch does.
///
/// Workers treat denormals and rounding as the caller of the run does, so results have the same
/// bits whatever the number of threads.
class ThreadPool {
 public:
  /// 0: physical_cores(). Throws std::invalid_argument below 0 or above 1024. Where the system
  /// gives no more threads (`ulimit -u`, a container's limit of processes), the pool has those it
  /// got.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const noexcept { return threads_; }

  /// Calls task(i, thread) once for each i of [0, tasks), on any thread in [0, threads()); returns
  /// when all have returned. Tasks are handed out in rising order. `task` must not throw.
  template <class Task>
  void run(int tasks, const Task& task) noexcept {
    run(tasks, 1, task);
  }

  /// As run(), but each thread has a stretch of the tasks of its own, and takes what is left of the
  /// others' when that is done. So a product that is soon made again finds each core's share of the
  /// weights in that core's cache.
  template <class Task>
  void run_in_stretches(int tasks, const Task& task) noexcept {
    run(tasks, threads(), task);
  }

 private:
  using Call = void (*)(const void* task, int i, int thread);

  template <class Task>
  void run(int tasks, int stretches, const Task& task) noexcept {
    if (tasks <= 0) return;
    if (workers_.empty()) {
      for (int i = 0; i < tasks; ++i) task(i, 0);
      return;
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    if (tasks == 1) return task(0, 0);
    fork(
        tasks, stretches,
        [](const void* t, int i, int thread) { (*static_cast<const Task*>(t))(i, thread); }, &task);
  }

  void fork(int tasks, int stretches, Call call, const void* task) noexcept;
  void work(int thread) noexcept;
  void stop() noexcept;
  /// Takes and does tasks of run `run` until there are none, those of its own stretch first.
  void take_tasks(std::uint32_t run, int thread) noexcept;
  /// Where a thread's stretch of the run's tasks ends; those behind the last stretch are empty.
  int end_of(int thread) const noexcept {
    return int(std::int64_t(tasks_) * std::min(thread + 1, stretches_) / stretches_);
  }

  std::mutex mutex_;
  // The run's description. Written before the tickets that open the run (release); read only by who
  // has taken a task of it (acquire), and the next run begins only when all taken tasks are done.
  Call call_ = nullptr;
  const void* task_ = nullptr;
  int tasks_ = 0;
  int stretches_ = 1;
  std::uint64_t float_control_ = 0;  // the caller's
  /// {run: upper half, tasks left to take of a thread's stretch: lower half}. A worker that comes
  /// late finds another run or no tasks, and nobody has waited for it.
  struct alignas(64) Ticket {
    std::atomic<std::uint64_t> value{0};
  };
  int threads_ = 1;                                // known before the first run
  std::vector<Ticket> tickets_;                    // [threads], or more than there came to be
  alignas(64) std::atomic<int> unfinished_{0};     // tasks not yet done
  alignas(64) std::atomic<std::uint32_t> run_{0};  // raised by each run; workers wait for it
  std::atomic<bool> stop_{false};
  std::vector<std::jthread> workers_;  // last: they use the rest
};

}  // namespace runnel::engine
