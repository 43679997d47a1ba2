// The arguments of the original constructor.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "models/htdemucs/config.h"

namespace runnel::models::htdemucs {

/// `description`: config.json, or what describe_package makes of a package. Checks every keyword
/// argument of the original constructor: those that Config holds for their ranges, the others for
/// the one value that is supported. What isn't given has the constructor's default; names that it
/// doesn't know are passed over, as the original does. `label` names the file in errors, which are
/// std::runtime_error.
Config parse_config(const nlohmann::json& description, const std::string& label);

}  // namespace runnel::models::htdemucs
