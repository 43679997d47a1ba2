// A checkpoint that holds NaN or infinity is refused in one line that names the tensor.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "assets/embedded.h"
#include "models/gtcrn/weights.h"
#include "models/htdemucs/network.h"
#include "models/htdemucs/package_description.h"
#include "models/htdemucs/tensor_names.h"
#include "models/moonshine/network.h"
#include "models/silero/weights.h"
#include "models/whisper/network.h"
#include "tests/engine/bytes.h"
#include "tests/models/whisper_ggml.h"

namespace runnel::models {
namespace {

namespace fs = std::filesystem;
using engine::testing::Bytes;
using engine::testing::error_of;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr engine::ComputeConfig kCompute{.threads = 1};

std::vector<std::byte> content_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

void write_file(const fs::path& path, std::span<const std::byte> content) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(content.data()), std::streamsize(content.size()));
}

/// The last value of a tensor becomes NaN.
std::vector<std::byte> spoiled(std::vector<std::byte> file, const std::string& tensor) {
  const engine::Weights weights = engine::Weights::borrow(file, "file");
  const engine::Tensor& t = weights.tensors().at(tensor);
  const std::size_t width = engine::size_of(t.dtype);
  // All bits of each type's exponent, and one of its fraction.
  const std::uint64_t nan = t.dtype == engine::DType::kF64   ? 0x7ff8000000000000
                            : t.dtype == engine::DType::kF32 ? 0x7fc00000
                            : t.dtype == engine::DType::kF16 ? 0x7e00
                                                             : 0x7fc0;
  std::memcpy(file.data() + (t.bytes.data() - file.data()) + t.bytes.size() - width, &nan, width);
  return file;
}

/// Loads a safetensors file with one tensor after the other spoiled; `needed` says which are read.
void expect_each_is_named(
    const std::vector<std::byte>& file,
    const std::function<void(std::span<const std::byte> file)>& load,
    const std::function<bool(const std::string& tensor)>& needed = [](const auto&) {
      return true;
    }) {
  ASSERT_EQ(error_of([&] { load(file); }), "");
  int tried = 0;
  const engine::Weights tensors = engine::Weights::borrow(file, "file");
  for (const auto& [name, tensor] : tensors.tensors()) {
    if (tensor.dtype == engine::DType::kI64 || !needed(name)) continue;
    const std::vector<std::byte> bad = spoiled(file, name);
    EXPECT_THAT(error_of([&] { load(bad); }),
                AllOf(HasSubstr("tensor '" + name + "': expected finite values, found NaN at "),
                      Not(HasSubstr("\n"))));
    ++tried;
  }
  EXPECT_GT(tried, 5);
}

/// The tensor, of floats, begins with `value`.
std::vector<std::byte> beginning_with(float value, std::vector<std::byte> file,
                                      const std::string& tensor) {
  const engine::Weights weights = engine::Weights::borrow(file, "file");
  const engine::Tensor& t = weights.tensors().at(tensor);
  EXPECT_EQ(t.dtype, engine::DType::kF32);
  std::memcpy(file.data() + (t.bytes.data() - file.data()), &value, sizeof value);
  return file;
}

class FiniteWeights : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::path(::testing::TempDir()) / ("runnel-finite-" + std::string(test->name()));
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path folder_;
};

TEST_F(FiniteWeights, OfGtcrn) {
  const auto weights = assets::gtcrn_runnel_weights();
  expect_each_is_named({weights.begin(), weights.end()}, [](std::span<const std::byte> file) {
    gtcrn::Weights(gtcrn::Config(), engine::Weights::borrow(file, "gtcrn"));
  });
}

TEST_F(FiniteWeights, OfGtcrnNeedVariances) {
  const auto weights = assets::gtcrn_runnel_weights();
  std::vector<std::byte> file(weights.begin(), weights.end());
  const engine::Weights tensors = engine::Weights::borrow(file, "file");
  for (const auto& [name, tensor] : tensors.tensors()) {
    if (!name.ends_with("running_var")) continue;
    std::vector<std::byte> bad = file;
    bad[std::size_t(tensor.bytes.data() - file.data()) + 3] |= std::byte{0x80};  // the sign
    EXPECT_THAT(
        error_of([&] { gtcrn::Weights(gtcrn::Config(), engine::Weights::borrow(bad, "gtcrn")); }),
        HasSubstr("gtcrn: tensor '" + name + "': expected variances, found -"));
  }
}

TEST_F(FiniteWeights, OfSilero) {
  const auto weights = assets::vad_runnel_weights();
  expect_each_is_named({weights.begin(), weights.end()}, [](std::span<const std::byte> file) {
    silero::Weights(engine::Weights::borrow(file, "vad"));
  });
}

TEST_F(FiniteWeights, OfMoonshine) {
  const fs::path fixture = "tests/fixtures/moonshine";
  for (const char* name : {"config.json", "tokenizer.json", "preprocessor_config.json"}) {
    fs::copy_file(fixture / name, folder_ / name);
  }
  expect_each_is_named(content_of(fixture / "model.safetensors"),
                       [&](std::span<const std::byte> file) {
                         write_file(folder_ / "model.safetensors", file);
                         moonshine::Model(moonshine::load_checkpoint(folder_), kCompute);
                       });
}

TEST_F(FiniteWeights, OfFloat16AreNoLargerThanItHas) {
  const fs::path fixture = "tests/fixtures/moonshine";
  for (const char* name : {"config.json", "tokenizer.json", "preprocessor_config.json"}) {
    fs::copy_file(fixture / name, folder_ / name);
  }
  const std::vector<std::byte> file = content_of(fixture / "model.safetensors");
  for (const char* tensor :
       {"model.encoder.embedder.conv1.weight", "model.encoder.layers.0.mlp.fc1.weight",
        "model.decoder.layers.0.self_attn.v_proj.weight"}) {
    SCOPED_TRACE(tensor);
    const auto load = [&](float value, engine::Precision precision) {
      write_file(folder_ / "model.safetensors", beginning_with(value, file, tensor));
      return error_of([&] {
        moonshine::Model(moonshine::load_checkpoint(folder_),
                         {.encoder = precision, .decoder = precision, .threads = 1});
      });
    };
    EXPECT_EQ(load(-65504, engine::Precision::kFloat16), "");
    EXPECT_EQ(load(-70000, engine::Precision::kBFloat16), "");
    EXPECT_THAT(load(-70000, engine::Precision::kFloat16),
                AllOf(HasSubstr(folder_.string() + ": tensor '" + std::string(tensor) +
                                "': expected values up to 65504, float16's largest, found -70000 "
                                "at element 0"),
                      Not(HasSubstr("\n"))));
  }
}

TEST_F(FiniteWeights, OfWhisperFolders) {
  const fs::path fixture = "tests/fixtures/whisper";
  for (const auto& entry : fs::directory_iterator(fixture)) {
    if (entry.path().extension() == ".json" || entry.path().extension() == ".txt") {
      fs::copy_file(entry.path(), folder_ / entry.path().filename());
    }
  }
  // Its vocabulary takes a while to read: a tensor of each kind.
  expect_each_is_named(
      content_of(fixture / "model.safetensors"),
      [&](std::span<const std::byte> file) {
        write_file(folder_ / "model.safetensors", file);
        whisper::Model(whisper::load_checkpoint(folder_), kCompute);
      },
      [](const std::string& tensor) {
        return !tensor.starts_with("model.decoder.layers") || tensor.ends_with("fc1.weight");
      });
}

TEST_F(FiniteWeights, OfWhisperInGgml) {
  const whisper::Checkpoint plain = whisper::load_checkpoint("tests/fixtures/whisper");
  const Bytes file = whisper::testing::ggml_file(plain, engine::GgmlType::kF16);
  const auto checkpoint = engine::GgmlCheckpoint::borrow(file, "file");
  for (const char* tensor :
       {"encoder.conv1.weight", "encoder.positional_embedding", "decoder.ln.bias",
        "decoder.token_embedding.weight", "decoder.blocks.0.cross_attn.key.weight"}) {
    const auto bytes = checkpoint.tensors().at(tensor).bytes;
    std::vector<std::byte> bad = file.content;
    const std::size_t last = std::size_t(bytes.data() - file.content.data()) + bytes.size() - 1;
    bad[last] = std::byte{0x7f};  // with the bits before it set: NaN, of floats and of halves
    bad[last - 1] = std::byte{0xff};
    write_file(folder_ / "ggml.bin", bad);
    EXPECT_THAT(
        error_of([&] { whisper::Model(whisper::load_checkpoint(folder_ / "ggml.bin"), kCompute); }),
        HasSubstr("ggml.bin: tensor '" + std::string(tensor) +
                  "': expected finite values, found NaN at element "));
  }
}

TEST_F(FiniteWeights, OfHtdemucs) {
  const htdemucs::Bag bag = htdemucs::open_bag("tests/fixtures/htdemucs/0a1b2c3d-65f5d38f.th");
  const htdemucs::Config& config = bag.models[0].config;
  // The package's tensors and its description, as a folder of safetensors.
  nlohmann::json header;
  Bytes data;
  for (const auto& [name, shape] : htdemucs::tensor_shapes(config)) {
    std::vector<float> values(std::size_t(engine::elements(shape)));
    bag.models[0].tensors->read(name, 0, values);
    const std::size_t begin = data.size();
    data.append(std::as_bytes(std::span(values)));
    header[name] = {{"dtype", "F32"}, {"shape", shape}, {"data_offsets", {begin, data.size()}}};
  }
  Bytes file = engine::testing::safetensors(header.dump(), 0);
  file.append(data);
  std::ofstream(folder_ / "config.json") << nlohmann::json{
      {"klass", htdemucs::kModelClass},
      {"segment_fraction", {config.segment_numerator, config.segment_denominator}},
      {"kwargs",
       {{"sources", config.sources},
        {"samplerate", config.samplerate},
        {"channels", config.channels},
        {"nfft", config.nfft},
        {"depth", config.depth},
        {"dconv_mode", 3},
        {"dconv_comp", config.dconv_comp},
        {"dconv_depth", config.dconv_depth},
        {"bottom_channels", config.bottom_channels},
        {"t_layers", config.t_layers},
        {"t_heads", config.t_heads},
        {"t_hidden_scale", config.t_hidden_scale},
        {"segment", double(config.segment_numerator) / double(config.segment_denominator)}}}};
  expect_each_is_named(file.content, [&](std::span<const std::byte> content) {
    write_file(folder_ / "model.safetensors", content);
    htdemucs::Network(htdemucs::open_bag(folder_), kCompute);
  });
}

}  // namespace
}  // namespace runnel::models
