#include "rt/stop_signal.h"

#include <atomic>
#include <csignal>
#include <stdexcept>

namespace runnel::rt {
namespace {

// What a signal handler may touch: lock-free atomics, and an Interrupt and a Wakeup that are never
// destroyed, because a handler may still run in another thread when the StopSignal has gone.
std::atomic<int> received{0};
std::atomic<bool> installed{false};
static_assert(std::atomic<int>::is_always_lock_free);
constinit Wakeup wakeup_of_main;

Interrupt& shared_interrupt() {
  static Interrupt& interrupt = *new Interrupt;
  return interrupt;
}

struct sigaction former_interrupt;
struct sigaction former_terminate;
struct sigaction former_hangup;

void set_handler(int number, void (*handler)(int), struct sigaction* former = nullptr) {
  struct sigaction action {};
  action.sa_handler = handler;
  sigemptyset(&action.sa_mask);
  sigaction(number, &action, former);
}

extern "C" void on_stop_signal(int number) {
  int none = 0;
  received.compare_exchange_strong(none, number, std::memory_order_relaxed);
  shared_interrupt().request();
  wakeup_of_main.notify();
  set_handler(SIGINT, SIG_DFL);
  set_handler(SIGTERM, SIG_DFL);
}

}  // namespace

StopSignal::StopSignal() {
  Interrupt& interrupt = shared_interrupt();
  if (installed.exchange(true)) throw std::logic_error("StopSignal: there is one already");
  received.store(0);
  interrupt.reset();
  set_handler(SIGINT, on_stop_signal, &former_interrupt);
  set_handler(SIGTERM, on_stop_signal, &former_terminate);
  sigaction(SIGHUP, nullptr, &former_hangup);
  if (former_hangup.sa_handler != SIG_IGN) set_handler(SIGHUP, on_stop_signal);
}

StopSignal::~StopSignal() {
  sigaction(SIGINT, &former_interrupt, nullptr);
  sigaction(SIGTERM, &former_terminate, nullptr);
  sigaction(SIGHUP, &former_hangup, nullptr);
  installed.store(false);
}

Wakeup& StopSignal::wakeup() noexcept { return wakeup_of_main; }

bool StopSignal::requested() const noexcept { return signal_number() != 0; }

int StopSignal::signal_number() const noexcept { return received.load(std::memory_order_relaxed); }

const Interrupt& StopSignal::interrupt() const noexcept { return shared_interrupt(); }

}  // namespace runnel::rt
