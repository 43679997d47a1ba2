// Reference outputs of the original implementations: the repository's own small set, and the larger
// one of ../shared where it is there. Tests take the set as their parameter.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/weights.h"

namespace runnel::models::testing {

/// "Own", and "Shared" where this checkout has it beside it.
inline std::vector<std::string> golden_sets() {
  std::vector<std::string> sets = {"Own"};
  if (std::filesystem::exists("../shared/goldens")) sets.emplace_back("Shared");
  return sets;
}

/// The folder of one case of a set.
inline std::filesystem::path golden(const std::string& set, const std::string& name) {
  return std::filesystem::path(set == "Own" ? "tests/goldens" : "../shared/goldens") / name;
}

/// Names the instances of a test after the set.
inline std::string set_name(const ::testing::TestParamInfo<std::string>& info) {
  return info.param;
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

/// Whisper's log-mel of a case as rows [3000, bins]; after the last column that the file holds, the
/// window goes on as that column.
inline std::vector<float> expected_log_mel(const std::filesystem::path& folder) {
  const ExpectedTensor mel = expected_tensor(folder, "log_mel");
  const std::size_t bins = std::size_t(mel.shape[0]), held = std::size_t(mel.shape[1]);
  std::vector<float> rows;
  for (std::size_t t = 0; t < 3000; ++t) {
    for (std::size_t b = 0; b < bins; ++b) {
      rows.push_back(mel.values[b * held + std::min(t, held - 1)]);
    }
  }
  return rows;
}

}  // namespace runnel::models::testing
