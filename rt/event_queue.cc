#include "rt/event_queue.h"

#include <stdexcept>
#include <string>

#if defined(__SANITIZE_THREAD__)
/// What ThreadSanitizer cannot see: moodycamel orders its plain accesses by fences, which are not
/// modelled, and the sound libraries are not instrumented.
extern "C" const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() {
  return "race:moodycamel::ConcurrentQueue\n"
         "race:libasound\n"
         "race:libportaudio\n"
         "race:libpulse\n";
}
#endif

namespace runnel::rt {

int check_event_queue(int capacity, int producers) {
  if (capacity < 1 || producers < 1) {
    throw std::invalid_argument("EventQueue: capacity and producers must be positive, not " +
                                std::to_string(capacity) + " and " + std::to_string(producers));
  }
  return producers;
}

}  // namespace runnel::rt
