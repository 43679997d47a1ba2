#include "rt/interrupt.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <system_error>

namespace runnel::rt {
namespace {

int make_descriptor() {
  const int descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (descriptor < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
  return descriptor;
}

}  // namespace

Interrupt::Interrupt() : descriptor_(make_descriptor()) {}

Interrupt::~Interrupt() { close(descriptor_); }

void Interrupt::request() noexcept {
  const int error = errno;  // of whatever a signal interrupted
  requested_.store(true, std::memory_order_relaxed);
  const std::uint64_t one = 1;
  const ssize_t written = write(descriptor_, &one, sizeof one);
  static_cast<void>(written);  // fails only where it has been requested often enough
  errno = error;
}

void Interrupt::reset() noexcept {
  requested_.store(false, std::memory_order_relaxed);
  std::uint64_t requests = 0;
  const ssize_t taken = read(descriptor_, &requests, sizeof requests);
  static_cast<void>(taken);  // fails where nothing was requested
}

}  // namespace runnel::rt
