// Reference outputs: those of ../shared/goldens, where they are there, and of the fixtures.
#pragma once

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/weights.h"

namespace runnel::models::testing {

inline const std::filesystem::path kGoldens = "../shared/goldens";

/// The case's folder; empty if this clone has no goldens.
inline std::filesystem::path golden(const std::string& name) {
  const std::filesystem::path folder = kGoldens / name;
  return std::filesystem::exists(folder / "expected.json") ? folder : std::filesystem::path();
}

inline nlohmann::json expected_json(const std::filesystem::path& folder) {
  std::ifstream file(folder / "expected.json");
  return nlohmann::json::parse(file);
}

struct ExpectedTensor {
  std::vector<float> values;
  engine::Shape shape;
};

inline ExpectedTensor expected_tensor(const std::filesystem::path& folder,
                                      const std::string& name) {
  const engine::Weights file = engine::Weights::open(folder / "expected.safetensors");
  const engine::Shape shape = file.tensors().at(name).shape;
  return {file.floats(name, shape), shape};
}

}  // namespace runnel::models::testing
