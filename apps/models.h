// `runnel models`, also behind `runnel separate --list-models`.
#pragma once

#include <string>

namespace runnel::apps {

/// The catalog as a table.
std::string models_table();

}  // namespace runnel::apps
