// What a .th package says beside its tensors.
#pragma once

#include <nlohmann/json.hpp>

#include "engine/pickle.h"

namespace runnel::models::htdemucs {

/// The only class that is read.
inline constexpr const char* kModelClass = "demucs.htdemucs.HTDemucs";

/// In the words of config.json: "klass", "args",
/// "kwargs". A Fraction becomes [numerator, denominator]; other objects become {"object": name},
/// which no key accepts.
struct PackageDescription {
  nlohmann::json text;
  const engine::PickleValue* state = nullptr;  // borrows the root
};

/// `root`: of a package's pickle. Throws std::runtime_error without the file's name if it isn't a
/// package of demucs.htdemucs.HTDemucs, or one whose weights were quantised with DiffQ.
PackageDescription describe_package(const engine::PickleValue& root);

}  // namespace runnel::models::htdemucs
