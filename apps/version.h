// What this program is made of, for --version and for every report.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace runnel::apps {

/// "0.1.0"
std::string version();
/// Several lines: version, instruction set, libraries.
std::string version_text();
/// {"runnel", "isa", "supported_isas", "compiler", "processor", "libraries"}
nlohmann::json version_json();

}  // namespace runnel::apps
