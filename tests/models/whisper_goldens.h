// Whisper models of the goldens.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>

#include "models/whisper/checkpoint.h"
#include "models/whisper/network.h"
#include "tests/models/goldens.h"

namespace runnel::models::whisper::testing {

using models::testing::expected_json;
using models::testing::expected_tensor;
using models::testing::ExpectedTensor;
using models::testing::golden;
using models::testing::golden_sets;
using models::testing::set_name;

/// The case's model with everything in one precision.
inline std::shared_ptr<const Model> load_model(const std::filesystem::path& folder,
                                               engine::Precision precision) {
  return std::make_shared<Model>(
      load_checkpoint(folder),
      engine::ComputeConfig{.encoder = precision, .decoder = precision, .threads = 2});
}

}  // namespace runnel::models::whisper::testing
