#include "rt/stop_signal.h"

#include <atomic>
#include <csignal>
#include <stdexcept>

namespace runnel::rt {
namespace {

// What a signal handler may touch: lock-free atomics.
std::atomic<int> received{0};
std::atomic<bool> installed{false};
static_assert(std::atomic<int>::is_always_lock_free);

struct sigaction former_interrupt;
struct sigaction former_terminate;

extern "C" void on_stop_signal(int number) {
  received.store(number, std::memory_order_relaxed);
  // The next one, of either kind, kills.
  struct sigaction fatal {};
  fatal.sa_handler = SIG_DFL;
  sigaction(SIGINT, &fatal, nullptr);
  sigaction(SIGTERM, &fatal, nullptr);
}

}  // namespace

StopSignal::StopSignal() {
  if (installed.exchange(true)) throw std::logic_error("StopSignal: there is one already");
  received.store(0);
  struct sigaction action {};
  action.sa_handler = on_stop_signal;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, &former_interrupt);
  sigaction(SIGTERM, &action, &former_terminate);
}

StopSignal::~StopSignal() {
  sigaction(SIGINT, &former_interrupt, nullptr);
  sigaction(SIGTERM, &former_terminate, nullptr);
  installed.store(false);
}

bool StopSignal::requested() const noexcept { return signal_number() != 0; }

int StopSignal::signal_number() const noexcept { return received.load(std::memory_order_relaxed); }

}  // namespace runnel::rt
