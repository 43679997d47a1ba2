#include "rt/worker.h"

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <latch>
#include <memory>
#include <system_error>
#include <utility>

#include "engine/denormals.h"

namespace runnel::rt {
namespace {

std::string reason(int error) { return std::generic_category().message(error); }

/// Returns 0 or an errno.
int lock_all_memory() {
  rlimit limit{};
  getrlimit(RLIMIT_MEMLOCK, &limit);
  // Under a limit, locking the future would make later allocations fail; root has no limit.
  const bool unlimited = limit.rlim_cur == RLIM_INFINITY || geteuid() == 0;
  return mlockall(unlimited ? MCL_CURRENT | MCL_FUTURE : MCL_CURRENT) == 0 ? 0 : errno;
}

}  // namespace

Worker::Worker(const WorkerOptions& options, Body body) {
  // Shared, because count_down() may still be returning when wait() has.
  const auto ready = std::make_shared<std::latch>(1);
  const auto run = [this, options, ready, body = std::move(body)](std::stop_token stop) {
    try {
      apply(options);
    } catch (...) {  // no memory for the words
      grants_.summary.clear();
    }
    ready->count_down();  // from here on grants_ belongs to the owner
    try {
      body(std::move(stop));
    } catch (...) {
      failure_ = std::current_exception();
    }
  };
  try {
    thread_ = std::jthread(run);
  } catch (const std::system_error& error) {
    throw std::system_error(error.code(), "no thread can be made for '" + options.name + "'");
  }
  ready->wait();
}

Worker::~Worker() {
  request_stop();
  if (thread_.joinable()) thread_.join();
}

void Worker::join() {
  if (thread_.joinable()) thread_.join();
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void join_all(std::initializer_list<std::optional<Worker>*> workers) {
  std::exception_ptr failure;
  for (std::optional<Worker>* worker : workers) {
    try {
      if (*worker) (*worker)->join();
    } catch (...) {
      if (!failure) failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

void Worker::apply(const WorkerOptions& options) {
  constexpr std::size_t kMaxName = 15;
  pthread_setname_np(pthread_self(), options.name.substr(0, kMaxName).c_str());

  grants_.summary = options.name + ": ";
  if (options.realtime_priority > 0) {
    sched_param parameters{};
    parameters.sched_priority = options.realtime_priority;
    // Reset on fork, so that a program which we start does not inherit the priority.
    grants_.realtime = sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &parameters) == 0;
    grants_.summary += grants_.realtime
                           ? "real-time priority " + std::to_string(options.realtime_priority)
                           : "no real-time priority (" + reason(errno) + ")";
  } else {
    grants_.summary += "ordinary priority";
  }
  if (options.lock_memory) {
    const int error = lock_all_memory();
    grants_.memory_locked = error == 0;
    grants_.summary +=
        error == 0 ? ", memory locked" : ", memory not locked (" + reason(error) + ")";
  }
  grants_.denormals_flushed = engine::flush_denormals();
  grants_.summary += grants_.denormals_flushed ? ", denormals flushed" : ", denormals kept";
}

}  // namespace runnel::rt
