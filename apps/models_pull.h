// `runnel models pull`: checkpoints from the public hub, resumable and checked.
#pragma once

#include <string>
#include <vector>

namespace runnel::apps {

struct PullOptions {
  std::vector<std::string> names;
  bool force = false;  // also what is there already
  bool quiet = false;
};

/// Downloads each into the first of model_folders(). One that fails doesn't stop the others.
/// Returns the exit code.
int pull_models(const PullOptions& options);

}  // namespace runnel::apps
