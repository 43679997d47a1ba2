// How a checkpoint says what its network is like.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "engine/pickle.h"
#include "models/htdemucs/config.h"

namespace runnel::models::htdemucs {

/// What a .th package says beside its tensors, in the words of config.json: "klass", "args",
/// "kwargs". A Fraction becomes [numerator, denominator]; other objects become {"object": name},
/// which no key accepts.
struct PackageDescription {
  nlohmann::json text;
  const engine::PickleValue* state = nullptr;  // borrows the root
};

/// `root`: of a package's pickle. Throws std::runtime_error without the file's name if it isn't a
/// package of demucs.htdemucs.HTDemucs, or one whose weights were quantised with DiffQ.
PackageDescription describe_package(const engine::PickleValue& root);

/// Checks every keyword argument of the original constructor: those that Config holds for their
/// ranges, the others for the one value that is supported. What isn't given has the constructor's
/// default; names that it doesn't know are passed over, as the original does. `label` names the
/// file in errors, which are std::runtime_error.
Config parse_config(const nlohmann::json& description, const std::string& label);

}  // namespace runnel::models::htdemucs
