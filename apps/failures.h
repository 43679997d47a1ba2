// What fails while the rest goes on: told at once, and remembered for the exit code.
#pragma once

#include <exception>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "apps/status_line.h"
#include "rt/reason.h"

namespace runnel::apps {

/// Any thread.
class Failures {
 public:
  explicit Failures(StatusLine& line) : line_(line) {}

  /// "runnel: …" on stderr, now; the same words only once, however many inputs met them.
  void tell(const std::string& what);
  /// Calls `use`, and tells of what it throws. Returns whether it threw nothing.
  template <class Use>
  bool attempt(Use&& use);
  bool any() const;

 private:
  StatusLine& line_;
  mutable std::mutex mutex_;
  std::set<std::string> told_;
};

/// Calls `use`; what it throws goes to `tell`. Returns whether it threw nothing.
template <class Use, class Tell>
bool attempt(Use&& use, Tell&& tell) {
  try {
    use();
    return true;
  } catch (const std::exception& error) {
    tell(rt::reason(error));
    return false;
  }
}

/// Calls `open` with 0 to `count` − 1, each of which opens an output. Those that can't be go to
/// `tell`; if none can, throws std::runtime_error with the first one's words.
template <class Open, class Tell>
void open_each(std::size_t count, Open&& open, Tell&& tell) {
  std::vector<std::string> failures;
  for (std::size_t i = 0; i < count; ++i) {
    attempt([&] { open(i); }, [&](const std::string& what) { failures.push_back(what); });
  }
  if (count > 0 && failures.size() == count) throw std::runtime_error(failures[0]);
  for (const std::string& what : failures) tell(what);
}

template <class Use>
bool Failures::attempt(Use&& use) {
  return apps::attempt(use, [this](const std::string& what) { tell(what); });
}

/// Calls `use` with each of `outputs`. One that throws is told of by `tell` and left out from then
/// on; the others go on.
template <class Output, class Use, class Tell>
void for_each_output(std::vector<std::unique_ptr<Output>>& outputs, Use&& use, Tell&& tell) {
  std::erase_if(outputs, [&](const std::unique_ptr<Output>& output) {
    return !attempt([&] { use(*output); }, tell);
  });
}

}  // namespace runnel::apps
