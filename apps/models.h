// `runnel models`, also behind `runnel separate --list-models`.
#pragma once

#include <cstdio>

namespace runnel::apps {

/// The catalog as a table.
void print_models(std::FILE* file);

}  // namespace runnel::apps
