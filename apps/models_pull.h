// `runnel models pull`: checkpoints from public servers, resumable and checked.
#pragma once

#include <string>
#include <vector>

#include "apps/model_store.h"

namespace runnel::apps {

struct PullOptions {
  std::vector<std::string> names;
  bool force = false;  // also what is there already
  bool quiet = false;
};

/// Downloads a model into the first of model_folders(). From Hugging Face's hub or, of Demucs, from
/// Meta's server; RUNNEL_HUB is an address that has both. Throws std::runtime_error in one line;
/// what came stays for the next try.
void pull_model(const HubModel& model, const PullOptions& options);

/// Downloads each into the first of model_folders(). One that fails doesn't stop the others.
/// Returns the exit code.
int pull_models(const PullOptions& options);

}  // namespace runnel::apps
