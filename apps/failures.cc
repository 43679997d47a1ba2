#include "apps/failures.h"

#include "apps/text.h"

namespace runnel::apps {

void Failures::tell(const std::string& what) {
  const std::lock_guard lock(mutex_);
  if (told_.insert(what).second) line_.say("runnel: " + one_line(what));
}

bool Failures::any() const {
  const std::lock_guard lock(mutex_);
  return !told_.empty();
}

}  // namespace runnel::apps
