// Moonshine models with the reference's outputs: the fixture and the goldens.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "models/moonshine/network.h"
#include "tests/models/goldens.h"
#include "tests/models/test_audio.h"

namespace runnel::models::moonshine::testing {

inline const std::filesystem::path kFixture = "tests/fixtures/moonshine";

/// One input of one model, with the prefix of its tensors in expected.safetensors.
struct Reference {
  std::filesystem::path folder;
  std::string prefix;  // "5s."; empty in the fixture
  std::vector<float> input;

  static std::string name_of(WindowSemantics semantics) {
    return semantics == WindowSemantics::kStrict ? "hf" : "inclusive";
  }
  std::vector<float> tensor(const std::string& name) const {
    return models::testing::expected_tensor(folder, prefix + name).values;
  }
  /// Greedy tokens, the end token too if it came.
  std::vector<int> tokens(WindowSemantics semantics = WindowSemantics::kStrict) const {
    const nlohmann::json json = models::testing::expected_json(folder);
    std::vector<int> all;
    if (json.contains("runs")) {
      all = json["runs"][prefix + name_of(semantics)]["tokens"].get<std::vector<int>>();
    } else {
      for (const auto& step : json[name_of(semantics)]) all.push_back(step["token"]);
    }
    return all;
  }
  std::vector<float> logprobs(WindowSemantics semantics) const {
    const nlohmann::json json = models::testing::expected_json(folder);
    std::vector<float> all;
    if (json.contains("runs")) {
      all = json["runs"][prefix + name_of(semantics)]["logprobs"].get<std::vector<float>>();
    } else {
      for (const auto& step : json[name_of(semantics)]) all.push_back(step["logprob"]);
    }
    return all;
  }
  std::vector<float> encoder(WindowSemantics semantics) const {
    return tensor(name_of(semantics) + ".encoder");
  }
};

inline Reference fixture_reference() {
  return {kFixture, "", models::testing::expected_tensor(kFixture, "input").values};
}

/// Both cases of each set of goldens.
inline std::vector<std::filesystem::path> golden_folders() {
  std::vector<std::filesystem::path> folders;
  for (const std::string& set : models::testing::golden_sets()) {
    for (const char* name : {"moonshine-streaming-square", "moonshine-streaming-nonsquare"}) {
      folders.push_back(models::testing::golden(set, name));
    }
  }
  return folders;
}

/// The fixture's, then those of the goldens.
inline std::vector<Reference> references() {
  std::vector<Reference> all{fixture_reference()};
  for (const std::filesystem::path& folder : golden_folders()) {
    for (const char* input : {"5s", "short"}) {
      all.push_back({folder, std::string(input) + ".",
                     models::testing::read_mono(
                         (folder / ("input_" + std::string(input) + ".wav")).string())});
    }
  }
  return all;
}

inline std::shared_ptr<const Model> load(const std::filesystem::path& folder,
                                         engine::Precision precision = engine::Precision::kFloat32,
                                         int threads = 1,
                                         WindowSemantics windows = WindowSemantics::kStrict) {
  return std::make_shared<Model>(
      load_checkpoint(folder),
      engine::ComputeConfig{.encoder = precision, .decoder = precision, .threads = threads},
      windows);
}

/// As long as the model can hear, in one chunk or many.
inline StreamOptions whole_input(const Model& model) {
  return {.max_seconds = model.config().encoder.max_frames / Config::kFramesPerSecond,
          .max_tokens = 40,
          .max_chunk = 100000};
}

/// Appends the rows of a stream's last push or flush.
inline void collect(const Stream& stream, std::vector<float>& rows) {
  const MatrixView<const float> fresh = stream.new_rows();
  for (int r = 0; r < fresh.rows; ++r) {
    rows.insert(rows.end(), fresh.row(r).begin(), fresh.row(r).end());
  }
}

/// Encoder rows of a whole input that comes in chunks.
inline std::vector<float> encode(Stream& stream, std::span<const float> input, int chunk) {
  std::vector<float> rows;
  while (!input.empty()) {
    const auto n = std::min(input.size(), std::size_t(chunk));
    stream.push(input.first(n));
    collect(stream, rows);
    input = input.subspan(n);
  }
  stream.flush();
  collect(stream, rows);
  return rows;
}

inline double largest_difference(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) return INFINITY;
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(double(a[i]) - double(b[i]));
    if (!(difference <= largest)) largest = difference;  // a NaN too
  }
  return largest;
}

}  // namespace runnel::models::moonshine::testing
