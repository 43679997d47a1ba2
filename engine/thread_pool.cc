#include "engine/thread_pool.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <system_error>

#include "engine/cores.h"
#include "engine/denormals.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace runnel::engine {
namespace {

constexpr int kSpins = 4000;   // some 100 µs with the processor's pause
constexpr int kForOthers = 4;  // threads left to the program where the system has no more

void pause() noexcept {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// Waits until `value` is no longer `old`: spinning first.
template <class T>
void wait_while(const std::atomic<T>& value, T old) noexcept {
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    pause();
  }
  value.wait(old, std::memory_order_acquire);
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  if (threads < 0 || threads > 1024) {
    throw std::invalid_argument("threads: expected 0 (physical cores) to 1024, found " +
                                std::to_string(threads));
  }
  const int count = threads > 0 ? threads : physical_cores();
  tickets_ = std::vector<Ticket>(std::size_t(count));
  workers_.reserve(std::size_t(count - 1));
  // Until there are `most` threads; false if the system gives no more. Workers wait for the first
  // run, so what is set here they see.
  const auto start = [this](int most) {
    try {
      for (; threads_ < most; ++threads_) {
        workers_.emplace_back([this, thread = threads_] { work(thread); });
      }
    } catch (const std::system_error&) {
      return false;
    } catch (...) {
      stop();  // else the members' destructors would wait for ever
      throw;
    }
    return true;
  };
  if (start(count)) return;
  const int fewer = std::max(1, threads_ - kForOthers);
  stop();
  workers_.clear();  // joins
  stop_.store(false, std::memory_order_relaxed);
  run_.store(0, std::memory_order_relaxed);
  threads_ = 1;
  start(fewer);
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() noexcept {
  stop_.store(true, std::memory_order_relaxed);
  run_.fetch_add(1, std::memory_order_release);
  run_.notify_all();
}

void ThreadPool::fork(int tasks, int stretches, Call call, const void* task) noexcept {
  call_ = call;
  task_ = task;
  tasks_ = tasks;
  stretches_ = stretches;
  float_control_ = float_control();
  unfinished_.store(tasks, std::memory_order_relaxed);
  const std::uint32_t run = run_.load(std::memory_order_relaxed) + 1;
  for (int thread = 0, first = 0; thread < threads(); ++thread) {
    const int end = end_of(thread);
    tickets_[std::size_t(thread)].value.store(std::uint64_t(run) << 32 | std::uint32_t(end - first),
                                              std::memory_order_release);
    first = end;
  }
  run_.store(run, std::memory_order_release);
  run_.notify_all();  // a system call only if a worker sleeps
  take_tasks(run, 0);
  for (int left; (left = unfinished_.load(std::memory_order_acquire)) != 0;) {
    wait_while(unfinished_, left);
  }
}

void ThreadPool::work(int thread) noexcept {
  std::uint32_t seen = 0;
  while (true) {
    wait_while(run_, seen);
    seen = run_.load(std::memory_order_acquire);
    if (stop_.load(std::memory_order_relaxed)) return;
    take_tasks(seen, thread);
  }
}

void ThreadPool::take_tasks(std::uint32_t run, int thread) noexcept {
  for (int i = 0; i < threads(); ++i) {
    const int owner = (thread + i) % threads();
    std::atomic<std::uint64_t>& open = tickets_[std::size_t(owner)].value;
    std::uint64_t ticket = open.load(std::memory_order_acquire);
    while (ticket >> 32 == run && std::uint32_t(ticket) != 0) {
      if (!open.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acq_rel,
                                      std::memory_order_acquire)) {
        continue;
      }
      if (float_control() != float_control_) set_float_control(float_control_);
      call_(task_, end_of(owner) - int(std::uint32_t(ticket)), thread);
      // Releases the task's results to the caller, which acquires them in fork().
      if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) unfinished_.notify_all();
      ticket = open.load(std::memory_order_acquire);
    }
  }
}

}  // namespace runnel::engine
