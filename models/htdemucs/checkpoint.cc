#include "models/htdemucs/checkpoint.h"

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <utility>

#include "engine/sha256.h"
#include "engine/weights.h"
#include "models/config_json.h"
#include "models/htdemucs/bag_file.h"
#include "models/htdemucs/model_kwargs.h"
#include "models/htdemucs/package_description.h"
#include "models/htdemucs/tensor_names.h"
#include "models/safetensors_source.h"

namespace runnel::models::htdemucs {
namespace {

namespace fs = std::filesystem;

constexpr const char* kForms =
    "a .th package, a .safetensors file with its config.json, a bag's .yaml or a folder of these";

bool is_hexadecimal(std::string_view text) {
  return text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

/// What NAME-CHECKSUM.th promises: the first digits of the file's SHA-256. None if what follows the
/// dash isn't a checksum.
std::optional<std::string> checksum_in_name(const fs::path& path) {
  constexpr std::size_t kLeastDigits = 8, kMostDigits = 64;
  const std::string stem = path.stem().string();
  const std::size_t dash = stem.rfind('-');
  if (dash == std::string::npos) return std::nullopt;
  const std::string digits = stem.substr(dash + 1);
  if (digits.size() < kLeastDigits || digits.size() > kMostDigits || !is_hexadecimal(digits)) {
    return std::nullopt;
  }
  return digits;
}

void check_checksum(const fs::path& path) {
  const auto expected = checksum_in_name(path);
  if (!expected) return;
  const std::string found = engine::sha256_of_file(path).substr(0, expected->size());
  if (found != *expected) {
    throw std::runtime_error(path.string() + ": expected SHA-256 " + *expected +
                             "… as in its name, found " + found + "… (damaged or renamed?)");
  }
}

/// As the original loads a state dict: every tensor must be there, and no other.
std::shared_ptr<const TensorSource> checked(engine::Weights weights, const Config& config) {
  const TensorShapes shapes = tensor_shapes(config);
  for (const auto& [name, tensor] : weights.tensors()) {
    if (!shapes.contains(name)) {
      throw std::runtime_error(weights.label() + ": tensor '" + name.substr(0, 80) +
                               "': expected none of this name, found one of shape " +
                               engine::to_string(tensor.shape));
    }
  }
  auto source = std::make_shared<SafetensorsSource>(std::move(weights), "encoder.0.conv.weight");
  for (const auto& [name, shape] : shapes) source->expect(name, shape);
  return source;
}

Checkpoint open_package(const fs::path& path) {
  check_checksum(path);
  PackageDescription description;
  engine::Weights weights = engine::Weights::open_package(
      path, [&](const engine::PickleValue& root) -> const engine::PickleValue& {
        description = describe_package(root);
        return *description.state;
      });
  Checkpoint checkpoint;
  checkpoint.label = path.string();
  checkpoint.config = parse_config(description.text, checkpoint.label);
  checkpoint.tensors = checked(std::move(weights), checkpoint.config);
  return checkpoint;
}

Checkpoint open_safetensors(const fs::path& weights) {
  const fs::path config = weights.parent_path() / "config.json";
  if (!is_there(config)) {
    throw std::runtime_error(weights.string() + ": expected config.json beside it, found none");
  }
  Checkpoint checkpoint;
  checkpoint.label = weights.string();
  checkpoint.config =
      parse_config(parse_object(read_config_text(config), config.string()), config.string());
  checkpoint.tensors = checked(engine::Weights::open(weights), checkpoint.config);
  return checkpoint;
}

std::vector<fs::path> files_of(const fs::path& folder, std::string_view extension) {
  std::vector<fs::path> files;
  std::error_code failure;
  auto entry = fs::directory_iterator(folder, failure);
  for (const auto end = fs::directory_iterator(); !failure && entry != end;
       entry.increment(failure)) {
    if (entry->path().extension() == extension) files.push_back(entry->path());
  }
  if (failure) throw std::runtime_error(folder.string() + ": " + failure.message());
  std::sort(files.begin(), files.end());
  return files;
}

/// SIGNATURE.th or SIGNATURE-CHECKSUM.th.
fs::path file_of_signature(const fs::path& bag, const std::string& signature) {
  std::vector<fs::path> found;
  for (const fs::path& file :
       files_of(bag.parent_path().empty() ? "." : bag.parent_path(), ".th")) {
    const std::string stem = file.stem().string();
    if (stem == signature || stem.starts_with(signature + "-")) found.push_back(file);
  }
  if (found.size() != 1) {
    throw std::runtime_error(bag.string() + ": model '" + signature + "': expected one file " +
                             signature + "-CHECKSUM.th beside it, found " +
                             (found.empty() ? "none" : std::to_string(found.size())));
  }
  return found[0];
}

void expect_agreement(const Checkpoint& first, const Checkpoint& other) {
  const Config &a = first.config, &b = other.config;
  const auto fail = [&](const char* what) {
    throw std::runtime_error(other.label + ": expected the " + what + " of " + first.label +
                             ", as models of one bag have, found others");
  };
  if (a.sources != b.sources) fail("sources");
  if (a.samplerate != b.samplerate) fail("sample rate");
  if (a.audio_channels != b.audio_channels) fail("channels");
  if (a.segment_numerator != b.segment_numerator ||
      a.segment_denominator != b.segment_denominator) {
    fail("segment");
  }
}

Bag bag_of_one(Checkpoint checkpoint) {
  Bag bag;
  bag.weights.emplace_back(checkpoint.config.sources.size(), 1.0f);
  bag.models.push_back(std::move(checkpoint));
  return bag;
}

Bag open_yaml(const fs::path& path) {
  const BagFile file = parse_bag_file(read_config_text(path), path.string());
  Bag bag;
  for (const std::string& signature : file.signatures) {
    bag.models.push_back(open_package(file_of_signature(path, signature)));
    expect_agreement(bag.models[0], bag.models.back());
  }
  const std::size_t sources = bag.models[0].config.sources.size();
  if (file.weights.empty()) {
    bag.weights.assign(bag.models.size(), std::vector<float>(sources, 1.0f));
    return bag;
  }
  std::vector<float> sums(sources, 0.0f);
  for (const std::vector<double>& row : file.weights) {
    if (row.size() != sources) {
      throw std::runtime_error(path.string() + ": key 'weights': expected " +
                               std::to_string(sources) + " of each model, found " +
                               std::to_string(row.size()));
    }
    bag.weights.emplace_back(row.begin(), row.end());
    for (std::size_t i = 0; i < sources; ++i) sums[i] += bag.weights.back()[i];
  }
  for (std::size_t i = 0; i < sources; ++i) {
    if (!(sums[i] > 0) || sums[i] > 1e6f) {
      throw std::runtime_error(path.string() + ": key 'weights': expected some weight for '" +
                               bag.models[0].config.sources[i] + "', found a sum of " +
                               std::to_string(sums[i]));
    }
  }
  return bag;
}

Bag open_folder(const fs::path& folder) {
  const std::vector<fs::path> bags = files_of(folder, ".yaml"), packages = files_of(folder, ".th");
  if (bags.size() == 1) return open_yaml(bags[0]);
  if (bags.empty() && packages.size() == 1) return bag_of_one(open_package(packages[0]));
  const fs::path weights = folder / "model.safetensors";
  if (bags.empty() && packages.empty() && is_there(weights)) {
    return bag_of_one(open_safetensors(weights));
  }
  throw std::runtime_error(
      folder.string() + ": expected one .yaml, one .th or model.safetensors in it, found " +
      std::to_string(bags.size()) + " .yaml and " + std::to_string(packages.size()) + " .th");
}

}  // namespace

Bag open_bag(const fs::path& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) return open_folder(path);
  const std::string extension = path.extension().string();
  if (extension == ".yaml") return open_yaml(path);
  if (extension == ".th") return bag_of_one(open_package(path));
  if (extension == ".safetensors") return bag_of_one(open_safetensors(path));
  throw std::runtime_error(path.string() + ": expected " + kForms + ", found " +
                           (is_there(path) ? "another file" : "nothing"));
}

}  // namespace runnel::models::htdemucs
