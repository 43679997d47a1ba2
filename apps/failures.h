// What fails while the rest goes on: told at once, and remembered for the exit code.
#pragma once

#include <exception>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "apps/status_line.h"

namespace runnel::apps {

/// Any thread.
class Failures {
 public:
  explicit Failures(StatusLine& line) : line_(line) {}

  /// "runnel: …" on stderr, now; the same words only once, however many inputs met them.
  void tell(const std::string& what);
  bool any() const;

 private:
  StatusLine& line_;
  mutable std::mutex mutex_;
  std::set<std::string> told_;
};

/// Calls `use` with each of `outputs`. One that throws is told of by `tell` and left out from then
/// on; the others go on.
template <class Output, class Use, class Tell>
void for_each_output(std::vector<std::unique_ptr<Output>>& outputs, Use&& use, Tell&& tell) {
  std::erase_if(outputs, [&](const std::unique_ptr<Output>& output) {
    try {
      use(*output);
      return false;
    } catch (const std::exception& error) {
      tell(error.what());
      return true;
    }
  });
}

}  // namespace runnel::apps
