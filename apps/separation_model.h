// The model of a separation: what the ways of running it need to know.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "models/separator.h"
#include "models/stem_separator.h"

namespace runnel::apps {

/// Makes a separator for audio of a format. Throws std::invalid_argument.
using SeparatorFactory =
    std::function<std::unique_ptr<models::StemSeparator>(const models::SeparatorFormat&)>;

struct SeparationModel {
  std::string name;                // of the results' folder
  std::string label;               // what was loaded, for messages
  std::vector<std::string> stems;  // what separators hand out, in their order
  SeparatorFactory separators;     // all on the same weights
  double hop_seconds = 0.016;      // stems come in bursts of so much
  double ring_seconds = 1.0;       // of live input that must find room while the model runs
};

/// By a name of the catalog or a checkpoint's path. Throws std::runtime_error in one line.
SeparationModel gtcrn_separation(const std::string& name_or_path,
                                 const models::SeparatorOptions& options);

}  // namespace runnel::apps
