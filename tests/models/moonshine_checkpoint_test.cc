#include "models/moonshine/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "models/moonshine/config_files.h"
#include "models/moonshine/network.h"
#include "models/moonshine/tensor_names.h"
#include "tests/engine/bytes.h"
#include "tests/models/moonshine_reference.h"

namespace runnel::models::moonshine {
namespace {

namespace fs = std::filesystem;
using engine::testing::error_of;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::kFixture;

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A copy of the fixture to spoil, gone with the test.
class MoonshineFolder : public ::testing::Test {
 protected:
  MoonshineFolder() {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ =
        fs::temp_directory_path() / ("runnel-" + std::to_string(::getpid()) + "-" + test->name());
    fs::copy(kFixture, folder_);
  }
  ~MoonshineFolder() override { fs::remove_all(folder_); }

  void write(const std::string& file, std::string_view content) const {
    std::ofstream stream(folder_ / file, std::ios::binary | std::ios::trunc);
    stream << content;
  }
  std::string load_error() const {
    const std::string error = error_of([&] { load_checkpoint(folder_); });
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
    EXPECT_LT(error.size(), 600u);
    return error;
  }
  /// Loads the folder with a key of config.json changed ("/encoder_config/head_dim"; a discarded
  /// value removes it); gives the error and restores the file.
  std::string error_with(const std::string& pointer, const json& value) const {
    const std::string before = read_file(folder_ / "config.json");
    json changed = json::parse(before);
    const json::json_pointer at(pointer);
    if (value.is_discarded()) {
      changed[at.parent_pointer()].erase(at.back());
    } else {
      changed[at] = value;
    }
    write("config.json", changed.dump());
    const std::string error = load_error();
    write("config.json", before);
    return error;
  }

  fs::path folder_;
};

const json kMissing(json::value_t::discarded);

TEST(MoonshineCheckpoint, LoadsAFolder) {
  ASSERT_TRUE(is_checkpoint(kFixture));
  const Checkpoint checkpoint = load_checkpoint(kFixture);
  const Config& c = checkpoint.config;
  EXPECT_EQ(checkpoint.label, kFixture.string());
  EXPECT_FALSE(checkpoint.random_weights);
  EXPECT_EQ(c.encoder.dim, 24);
  EXPECT_EQ(c.encoder.heads, 2);
  EXPECT_EQ(c.encoder.head_dim, 10);
  EXPECT_EQ(c.encoder.ffn, 40);
  EXPECT_EQ(c.encoder.frame_samples, 80);
  ASSERT_EQ(c.encoder.windows.size(), 3u);
  EXPECT_EQ(c.encoder.windows[2].left, 4);
  EXPECT_EQ(c.encoder.windows[2].right, 3);
  EXPECT_EQ(c.encoder.max_frames, 128) << "the table's rows are the decoder's positions";
  EXPECT_EQ(c.decoder.dim, 16);
  EXPECT_EQ(c.decoder.layers, 2);
  EXPECT_EQ(c.decoder.heads, 2);
  EXPECT_EQ(c.decoder.head_dim, 8);
  EXPECT_EQ(c.decoder.ffn, 24);
  EXPECT_EQ(c.decoder.max_tokens, 128);
  EXPECT_FALSE(c.decoder.tied);
  EXPECT_NEAR(c.decoder.rotary_part, .8, 1e-12);
  EXPECT_EQ(c.decoder.rope_theta, 1e4);
  EXPECT_EQ(c.start_token, 1);
  EXPECT_EQ(c.end_token, 2);
  EXPECT_EQ(checkpoint.tokenizer->vocab_size(), c.vocab_size);
}

TEST(MoonshineCheckpoint, LoadsTheGoldens) {
  for (const fs::path& folder : testing::golden_folders()) {
    EXPECT_TRUE(is_checkpoint(folder));
    EXPECT_EQ(load_checkpoint(folder).config.vocab_size, 512);
  }
}

TEST(MoonshineCheckpoint, OtherFoldersAreNotMoonshine) {
  EXPECT_FALSE(is_checkpoint("tests/fixtures/whisper"));
  EXPECT_FALSE(is_checkpoint("tests/fixtures"));
  EXPECT_FALSE(is_checkpoint("tests/fixtures/nowhere"));
  EXPECT_FALSE(is_config("[[[[[["));
  EXPECT_FALSE(is_config("7"));
  EXPECT_FALSE(is_config(R"({"model_type": ["moonshine_streaming"]})"));
  EXPECT_THAT(error_of([] { load_checkpoint("tests/fixtures/whisper"); }),
              HasSubstr("found no tokenizer.json"));
  EXPECT_THAT(error_of([] { load_checkpoint("tests/fixtures/nowhere"); }),
              HasSubstr("found no config.json"));
}

TEST(MoonshineConfig, SizesMustBeThereTheRestHasTransformersDefaults) {
  const std::string least = R"({"model_type": "moonshine_streaming", "vocab_size": 32768,
    "hidden_size": 320, "num_hidden_layers": 6, "num_attention_heads": 8, "intermediate_size": 1280,
    "eos_token_id": [2],
    "encoder_config": {"hidden_size": 320, "num_hidden_layers": 6, "num_attention_heads": 8,
                       "intermediate_size": 1280}})";
  const Config c = parse_config(least, "config.json");
  EXPECT_EQ(c.encoder.head_dim, 40);
  EXPECT_EQ(c.decoder.head_dim, 40);
  EXPECT_EQ(c.encoder.max_frames, 4096);
  EXPECT_EQ(c.end_token, 2);
  EXPECT_NEAR(c.decoder.rotary_part, .8, 1e-12);
  std::vector<int> rights;
  for (const auto& window : c.encoder.windows) rights.push_back(window.right);
  EXPECT_EQ(rights, (std::vector<int>{4, 4, 0, 0, 4, 4}));
}

TEST_F(MoonshineFolder, AWrongConfigIsRefusedInOneLineThatNamesTheKey) {
  const auto expect = [&](const std::string& pointer, const json& value, const std::string& key,
                          const std::string& expected, const std::string& found) {
    EXPECT_THAT(error_with(pointer, value),
                AllOf(HasSubstr("config.json: key '" + key + "'"),
                      HasSubstr("expected " + expected), HasSubstr("found " + found)))
        << pointer;
  };
  expect("/model_type", "whisper", "model_type", "\"moonshine_streaming\"", "\"whisper\"");
  expect("/model_type", kMissing, "model_type", "\"moonshine_streaming\"", "none");
  expect("/encoder_config", kMissing, "encoder_config", "an object", "none");
  expect("/encoder_config", 3, "encoder_config", "an object", "3");
  expect("/encoder_config/hidden_size", kMissing, "encoder_config.hidden_size", "a whole number",
         "none");
  expect("/encoder_config/hidden_size", 1 << 30, "encoder_config.hidden_size", "1 to 8192",
         "1073741824");
  expect("/encoder_config/hidden_size", 2.5, "encoder_config.hidden_size", "a whole number", "2.5");
  expect("/encoder_config/num_attention_heads", 0, "encoder_config.num_attention_heads", "1 to",
         "0");
  expect("/encoder_config/num_key_value_heads", 1, "encoder_config.num_key_value_heads",
         "2 as num_attention_heads", "1");
  expect("/encoder_config/head_dim", 7, "encoder_config.head_dim", "an even number", "7");
  expect("/encoder_config/head_dim", 256, "encoder_config.head_dim", "2 to 128", "256");
  expect("/encoder_config/sliding_windows", json::array({json::array({16, 4})}),
         "encoder_config.sliding_windows", "3 pairs", "1");
  expect("/encoder_config/sliding_windows/1", json::array({16}), "encoder_config.sliding_windows",
         "pairs [left, right]", "a list");
  expect("/encoder_config/sliding_windows/1/1", -4, "encoder_config.sliding_windows", "0 to", "-4");
  expect("/encoder_config/sample_rate", 8000, "encoder_config.sample_rate", "16000", "8000");
  expect("/encoder_config/frame_ms", 10, "encoder_config.frame_ms", "5", "10");
  expect("/encoder_config/frame_ms", "x", "encoder_config.frame_ms", "a number", "\"x\"");
  expect("/encoder_config/hidden_act", "relu", "encoder_config.hidden_act", "\"gelu\"", "\"relu\"");
  expect("/encoder_config/attention_bias", true, "encoder_config.attention_bias", "false", "true");
  expect("/encoder_hidden_size", 25, "encoder_hidden_size", "24", "25");
  expect("/hidden_act", "gelu", "hidden_act", "\"silu\"", "\"gelu\"");
  expect("/vocab_size", kMissing, "vocab_size", "a whole number", "none");
  expect("/eos_token_id", 5000, "eos_token_id", "0 to", "5000");
  expect("/decoder_start_token_id", -1, "decoder_start_token_id", "0 to", "-1");
  expect("/rope_parameters", 3, "rope_parameters", "an object", "3");
  expect("/rope_parameters/rope_type", "yarn", "rope_parameters.rope_type", "\"default\"",
         "\"yarn\"");
  expect("/rope_parameters/partial_rotary_factor", 2, "rope_parameters.partial_rotary_factor",
         "a number from 0", "2");
  expect("/tie_word_embeddings", "no", "tie_word_embeddings", "true or false", "\"no\"");
}

TEST_F(MoonshineFolder, BeamsAreWhatTheGenerationConfigSays) {
  fs::remove(folder_ / "generation_config.json");
  EXPECT_EQ(load_checkpoint(folder_).config.beams, 1);
  write("generation_config.json", R"({"max_length": 448})");
  EXPECT_EQ(load_checkpoint(folder_).config.beams, 1);
  write("generation_config.json", R"({"num_beams": 4})");
  EXPECT_EQ(load_checkpoint(folder_).config.beams, 4);
  for (const char* wrong :
       {R"({"num_beams": 0})", R"({"num_beams": 9})", R"({"num_beams": "4"})"}) {
    write("generation_config.json", wrong);
    EXPECT_THAT(load_error(), AllOf(HasSubstr("generation_config.json: key 'num_beams'"),
                                    HasSubstr("expected "), HasSubstr("found ")))
        << wrong;
  }
  write("generation_config.json", "[");
  EXPECT_THAT(load_error(), HasSubstr("generation_config.json"));
}

TEST_F(MoonshineFolder, BrokenFilesAreRefusedInOneLineThatNamesThem) {
  for (const char* file :
       {"config.json", "tokenizer.json", "preprocessor_config.json", "model.safetensors"}) {
    const std::string whole = read_file(folder_ / file);
    for (const std::size_t kept :
         {std::size_t(0), std::size_t(9), whole.size() / 2, whole.size() - 3}) {
      write(file, whole.substr(0, kept));
      EXPECT_THAT(load_error(), HasSubstr(file)) << kept << " bytes";
    }
    write(file, std::string(5 << 20, '['));
    EXPECT_THAT(load_error(), HasSubstr(file));
    write(file, whole);
  }
  EXPECT_EQ(load_error(), "");
  fs::remove(folder_ / "model.safetensors");
  EXPECT_THAT(load_error(), HasSubstr("found no model.safetensors"));
}

TEST_F(MoonshineFolder, ATensorThatIsMissingOrMisshapenIsNamed) {
  // Another size in config.json means other shapes.
  EXPECT_THAT(
      error_with("/encoder_config/intermediate_size", 48),
      AllOf(HasSubstr("model.encoder.layers.0.mlp.fc1"), HasSubstr("[48"), HasSubstr("[40")));
  EXPECT_THAT(error_with("/num_hidden_layers", 3), HasSubstr("model.decoder.layers.2."));
  EXPECT_THAT(error_with("/max_position_embeddings", 64),
              HasSubstr("model.decoder.pos_emb.weight"));
  const std::string whole = read_file(folder_ / "model.safetensors");
  for (const auto& [tensor, shape] : tensor_shapes(load_checkpoint(folder_).config)) {
    std::string spoilt = whole;
    const std::size_t at = spoilt.find("\"" + tensor + "\"");
    ASSERT_NE(at, std::string::npos) << tensor;
    spoilt[at + 1] = '#';
    write("model.safetensors", spoilt);
    EXPECT_THAT(load_error(), HasSubstr(tensor));
  }
}

TEST(MoonshineRandomCheckpoint, HasTheShapesOfThePublicModels) {
  const auto check = [](const char* name, double millions) {
    const Checkpoint checkpoint = random_checkpoint(name);
    EXPECT_TRUE(checkpoint.random_weights);
    double values = 0;
    for (const auto& [tensor, shape] : tensor_shapes(checkpoint.config)) {
      values += double(engine::elements(shape));
      checkpoint.tensors->expect(tensor, shape);
    }
    EXPECT_NEAR(values * 1e-6, millions, 0.02 * millions) << name;
    EXPECT_EQ(checkpoint.config.vocab_size, 32768);
    return checkpoint.config;
  };
  const Config tiny = check("moonshine-streaming-tiny", 44);
  EXPECT_EQ(tiny.encoder.dim, 320);
  EXPECT_EQ(tiny.encoder.windows.size(), 6u);
  const Config small = check("moonshine-streaming-small", 140);
  EXPECT_EQ(small.encoder.dim, 620);
  EXPECT_EQ(small.encoder.heads * small.encoder.head_dim, 512);
  const Config medium = check("moonshine-streaming-medium", 265);
  EXPECT_EQ(medium.encoder.windows.size(), 14u);
  EXPECT_EQ(medium.decoder.dim, 640);
  EXPECT_THAT(error_of([] { random_checkpoint("moonshine-streaming-huge"); }),
              AllOf(HasSubstr("moonshine-streaming-tiny, moonshine-streaming-small"),
                    HasSubstr("'moonshine-streaming-huge'")));
}

TEST(MoonshineRandomCheckpoint, TinyHearsAndItsRowsKeepTheirScale) {
  const auto model =
      std::make_shared<Model>(random_checkpoint("moonshine-streaming-tiny"),
                              engine::ComputeConfig{.encoder = engine::Precision::kBFloat16,
                                                    .decoder = engine::Precision::kInt8,
                                                    .threads = 2});
  EXPECT_TRUE(model->random_weights());
  EXPECT_EQ(model->latency_samples(), 320 * 12 + 79);
  Stream stream(model, {.max_seconds = 4, .max_chunk = 32000});
  const auto rows = testing::encode(stream, models::testing::noise(32000, 3), 1280);
  ASSERT_EQ(rows.size(), 100u * 320u);
  double squares = 0;
  for (const float x : rows) squares += double(x) * x;
  EXPECT_NEAR(squares / double(rows.size()), 1, 0.02) << "after a norm without gain";
  // In one piece: a sum in another order would turn a bfloat16 here and there, and that shows.
  stream.restart();
  EXPECT_LT(testing::largest_difference(
                testing::encode(stream, models::testing::noise(32000, 3), 32000), rows),
            1e-4);
}

}  // namespace
}  // namespace runnel::models::moonshine
