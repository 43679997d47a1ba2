#include "models/whisper/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "models/whisper/checkpoint_defaults.h"
#include "tests/models/whisper_ggml.h"
#include "tests/models/whisper_goldens.h"

namespace runnel::models::whisper {
namespace {

namespace fs = std::filesystem;
using engine::GgmlType;
using engine::testing::Bytes;
using engine::testing::error_of;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::Each;
using testing::ggml_file;
using testing::golden;
using ::testing::HasSubstr;
using ::testing::Not;

const fs::path kFixture = "tests/fixtures/whisper";
const std::vector<std::string> kGoldenNames = {"whisper-multilingual", "whisper-turbo",
                                               "whisper-en"};

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<float> read_all(const Checkpoint& checkpoint, const std::string& tensor) {
  const auto shape = tensor_shapes(checkpoint.config).at(tensor);
  std::vector<float> values(std::size_t(engine::elements(shape)));
  checkpoint.tensors->read(tensor, 0, values);
  return values;
}

void expect_same_config(const Config& a, const Config& b) {
  EXPECT_EQ(a.vocab_size, b.vocab_size);
  EXPECT_EQ(a.mel_bins, b.mel_bins);
  EXPECT_EQ(a.audio_ctx, b.audio_ctx);
  EXPECT_EQ(a.text_ctx, b.text_ctx);
  EXPECT_EQ(a.dim, b.dim);
  EXPECT_EQ(a.encoder_layers, b.encoder_layers);
  EXPECT_EQ(a.encoder_heads, b.encoder_heads);
  EXPECT_EQ(a.encoder_ffn, b.encoder_ffn);
  EXPECT_EQ(a.decoder_layers, b.decoder_layers);
  EXPECT_EQ(a.decoder_heads, b.decoder_heads);
  EXPECT_EQ(a.decoder_ffn, b.decoder_ffn);
}

/// A copy of the fixture to spoil, gone with the test.
class WhisperFolder : public ::testing::Test {
 protected:
  WhisperFolder() {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ =
        fs::temp_directory_path() / ("runnel-" + std::to_string(::getpid()) + "-" + test->name());
    fs::copy(kFixture, folder_);
  }
  ~WhisperFolder() override { fs::remove_all(folder_); }

  void write(const std::string& file, std::string_view content) const {
    std::ofstream stream(folder_ / file, std::ios::binary | std::ios::trunc);
    stream << content;
  }
  void write(const std::string& file, const Bytes& content) const {
    write(file,
          std::string_view(reinterpret_cast<const char*>(content.content.data()), content.size()));
  }
  json read_json(const std::string& file) const { return json::parse(read_file(folder_ / file)); }
  /// Loads the folder with one key of a JSON file changed; gives the error and restores the file.
  std::string error_with(const std::string& file, const std::string& key, const json& value) const {
    const json before = read_json(file);
    json changed = before;
    changed[key] = value;
    if (value.is_discarded()) changed.erase(key);
    write(file, changed.dump());
    const std::string error = load_error(folder_);
    write(file, before.dump());
    return error;
  }
  static std::string load_error(const fs::path& path) {
    const std::string error = error_of([&] { load_checkpoint(path); });
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
    return error;
  }

  fs::path folder_;
};

TEST(WhisperCheckpoint, LoadsAFolder) {
  for (const fs::path& path : {kFixture, kFixture / "model.safetensors"}) {
    const Checkpoint checkpoint = load_checkpoint(path);
    EXPECT_EQ(checkpoint.label, path.string());
    EXPECT_FALSE(checkpoint.random_weights);
    EXPECT_EQ(checkpoint.config.vocab_size, 51865);
    EXPECT_EQ(checkpoint.config.dim, 8);
    EXPECT_EQ(checkpoint.config.encoder_heads, 2);
    EXPECT_EQ(checkpoint.config.decoder_ffn, 32);
    EXPECT_EQ(checkpoint.generation.suppress_tokens,
              (std::vector<int>{1, 2, 7, 50258, 50358, 50359, 50360, 50361, 50362}));
    EXPECT_EQ(checkpoint.generation.begin_suppress_tokens, (std::vector<int>{220, 50257}));
    EXPECT_EQ(checkpoint.generation.alignment_heads, (std::vector<std::pair<int, int>>{{0, 1}}));
    EXPECT_EQ(checkpoint.generation.max_initial_timestamp_index, 50);
    EXPECT_EQ(checkpoint.tokenizer->decode(checkpoint.tokenizer->encode(" the river")),
              " the river");
    const auto norm = read_all(checkpoint, "model.decoder.layer_norm.weight");
    for (const float value : norm) EXPECT_NEAR(value, 1, 0.3);
  }
}

class WhisperGoldens : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(, WhisperGoldens, ::testing::ValuesIn(testing::golden_sets()),
                         testing::set_name);

TEST_P(WhisperGoldens, LoadWithEitherTokenizer) {
  for (const std::string& name : kGoldenNames) {
    const fs::path folder = golden(GetParam(), name);
    const Checkpoint checkpoint = load_checkpoint(folder);
    const json generation = json::parse(read_file(folder / "generation_config.json"));
    EXPECT_EQ(json(checkpoint.generation.suppress_tokens), generation["suppress_tokens"]);
    EXPECT_EQ(json(checkpoint.generation.alignment_heads), generation["alignment_heads"]);
    EXPECT_EQ(checkpoint.tokenizer->vocab_size(), checkpoint.config.vocab_size);
  }
}

TEST_P(WhisperGoldens, NameTheDefaultsAsPublicFilesDo) {
  for (const std::string& name : kGoldenNames) {
    const fs::path folder = golden(GetParam(), name);
    const Checkpoint checkpoint = load_checkpoint(folder);
    const auto defaults = default_generation(checkpoint.config, *checkpoint.tokenizer);
    EXPECT_EQ(defaults.suppress_tokens, checkpoint.generation.suppress_tokens) << name;
    EXPECT_EQ(defaults.begin_suppress_tokens, checkpoint.generation.begin_suppress_tokens) << name;
  }
}

/// ggml files of each type have the folder's sizes, vocabulary and values.
void expect_same_as_ggml(const fs::path& folder, const fs::path& scratch) {
  const Checkpoint original = load_checkpoint(folder);
  for (const GgmlType type : {GgmlType::kF32, GgmlType::kF16, GgmlType::kQ4_0, GgmlType::kQ4_1,
                              GgmlType::kQ5_0, GgmlType::kQ5_1, GgmlType::kQ8_0}) {
    const Bytes content = ggml_file(original, type);
    std::ofstream(scratch, std::ios::binary)
        .write(reinterpret_cast<const char*>(content.content.data()),
               std::streamsize(content.size()));
    const Checkpoint ggml = load_checkpoint(scratch);
    expect_same_config(ggml.config, original.config);
    for (const int token : {0, 255, 300, 50255}) {
      EXPECT_EQ(ggml.tokenizer->decode_bytes({{token}}),
                original.tokenizer->decode_bytes({{token}}));
    }
    EXPECT_EQ(ggml.tokenizer->encode(" the river"), original.tokenizer->encode(" the river"));
    for (const auto& [tensor, shape] : tensor_shapes(original.config)) {
      ggml.tensors->expect(tensor, shape);
      const auto expected = read_all(original, tensor), found = read_all(ggml, tensor);
      const GgmlType stored = testing::stored_type(tensor, shape, type);
      if (engine::block_values(stored) == 1) {
        ASSERT_EQ(found, expected) << tensor;  // the originals are halves
        continue;
      }
      const float steps = stored == GgmlType::kQ8_0                                ? 127
                          : stored == GgmlType::kQ5_0 || stored == GgmlType::kQ5_1 ? 15
                                                                                   : 7;
      float largest = 0, error = 0;
      for (std::size_t i = 0; i < expected.size(); ++i) {
        largest = std::max(largest, std::fabs(expected[i]));
        error = std::max(error, std::fabs(found[i] - expected[i]));
      }
      EXPECT_LE(error, 0.52f * largest / steps) << tensor << " " << name(type);
      EXPECT_GT(error, 0) << tensor << " " << name(type);
    }
  }
}

TEST_F(WhisperFolder, ReadsTheSameAsAGgmlFileOfTheSameWeights) {
  expect_same_as_ggml(kFixture, folder_ / "ggml.bin");
}

TEST_F(WhisperFolder, OfAGoldenReadsTheSameAsItsGgmlFile) {
  for (const std::string& set : testing::golden_sets()) {
    expect_same_as_ggml(golden(set, "whisper-multilingual"), folder_ / "ggml.bin");
  }
}

TEST_F(WhisperFolder, GgmlFilesHaveOpenAisDefaults) {
  const Checkpoint original = load_checkpoint(folder_);
  write("ggml.bin", ggml_file(original, GgmlType::kF16));
  const Checkpoint ggml = load_checkpoint(folder_ / "ggml.bin");
  const auto& suppressed = ggml.generation.suppress_tokens;
  EXPECT_TRUE(std::is_sorted(suppressed.begin(), suppressed.end()));
  for (const int token : {50258, 50358, 50359, 50360, 50361, 50362}) {
    EXPECT_THAT(suppressed, ::testing::Contains(token));
  }
  EXPECT_THAT(suppressed, AllOf(Not(::testing::Contains(50257)), Not(::testing::Contains(50364))));
  EXPECT_EQ(ggml.generation.begin_suppress_tokens, (std::vector<int>{220, 50257}));
  EXPECT_EQ(ggml.generation.alignment_heads, (std::vector<std::pair<int, int>>{{0, 0}, {0, 1}}));
}

TEST_F(WhisperFolder, OfShardsLoads) {
  const std::string whole = read_file(folder_ / "model.safetensors");
  std::uint64_t length = 0;
  std::memcpy(&length, whole.data(), 8);
  const json header = json::parse(whole.substr(8, length));
  json headers[2], index;
  Bytes data[2];
  int count = 0;
  for (const auto& [tensor, entry] : header.items()) {
    if (tensor == "__metadata__") continue;
    const int shard = count++ % 2;
    const std::size_t begin = entry["data_offsets"][0], end = entry["data_offsets"][1];
    headers[shard][tensor] = entry;
    headers[shard][tensor]["data_offsets"] = {data[shard].size(), data[shard].size() + end - begin};
    data[shard].text(std::string_view(whole).substr(8 + length + begin, end - begin));
    index["weight_map"][tensor] = "model-" + std::to_string(shard) + ".safetensors";
  }
  for (const int shard : {0, 1}) {
    write("model-" + std::to_string(shard) + ".safetensors",
          engine::testing::safetensors(headers[shard].dump(), 0).append(data[shard]));
  }
  write("model.safetensors.index.json", index.dump());
  fs::remove(folder_ / "model.safetensors");
  const Checkpoint original = load_checkpoint(kFixture);
  for (const fs::path& path : {folder_, folder_ / "model.safetensors.index.json"}) {
    const Checkpoint sharded = load_checkpoint(path);
    for (const auto& [tensor, shape] : tensor_shapes(original.config)) {
      ASSERT_EQ(read_all(sharded, tensor), read_all(original, tensor)) << tensor;
    }
  }
}

TEST_F(WhisperFolder, ReadsPartsOfATensor) {
  const Checkpoint checkpoint = load_checkpoint(folder_);
  const std::string tensor = "model.decoder.embed_tokens.weight";
  const auto all = read_all(checkpoint, tensor);
  std::vector<float> part(13);
  for (const std::size_t first : {std::size_t(0), std::size_t(5), all.size() - 13}) {
    checkpoint.tensors->read(tensor, std::int64_t(first), part);
    EXPECT_TRUE(std::equal(part.begin(), part.end(), all.begin() + std::ptrdiff_t(first)));
  }
  checkpoint.tensors->done(tensor);
  EXPECT_EQ(read_all(checkpoint, tensor), all);  // its pages come back
}

TEST_F(WhisperFolder, FallsBackWhereGenerationIsUnsaid) {
  fs::remove(folder_ / "generation_config.json");
  json config = read_json("config.json");
  config["suppress_tokens"] = {4, 5};
  write("config.json", config.dump());
  const Checkpoint checkpoint = load_checkpoint(folder_);
  EXPECT_EQ(checkpoint.generation.suppress_tokens, (std::vector<int>{4, 5}));
  EXPECT_EQ(checkpoint.generation.begin_suppress_tokens, (std::vector<int>{220, 50257}));
  EXPECT_EQ(checkpoint.generation.alignment_heads.size(), 2u);
  write("generation_config.json", R"({"suppress_tokens": [], "alignment_heads": null})");
  EXPECT_EQ(load_checkpoint(folder_).generation.suppress_tokens, std::vector<int>());
  // Each head counts once, however often it is named.
  write("generation_config.json", R"({"alignment_heads": [[0, 1], [0, 0], [0, 1]]})");
  EXPECT_EQ(load_checkpoint(folder_).generation.alignment_heads,
            (std::vector<std::pair<int, int>>{{0, 1}, {0, 0}}));
}

TEST_F(WhisperFolder, ErrorsSayWhatAFolderMustHave) {
  EXPECT_THAT(load_error(folder_ / "nothing"), HasSubstr("nothing: No such file"));
  for (const char* file : {"vocab.json", "model.safetensors", "config.json"}) {
    fs::remove(folder_ / file);
    EXPECT_THAT(load_error(folder_),
                AllOf(HasSubstr("expected a Whisper folder with config.json")));
  }
  EXPECT_THAT(load_error(folder_), HasSubstr("found no config.json"));
  EXPECT_THAT(load_error(folder_ / "merges.txt"),
              AllOf(HasSubstr("merges.txt: expected a Whisper folder"), HasSubstr("ggml .bin")));
}

TEST_F(WhisperFolder, ErrorsNameTheKeyOfTheConfig) {
  const json none(json::value_t::discarded);
  const auto error = [&](const char* key, const json& value) {
    return error_with("config.json", key, value);
  };
  EXPECT_THAT(error("model_type", "bart"),
              HasSubstr("config.json: key 'model_type': expected \"whisper\", found \"bart\""));
  EXPECT_THAT(error("d_model", none),
              HasSubstr("key 'd_model': expected a whole number, found none"));
  EXPECT_THAT(error("d_model", 8.5), HasSubstr("expected a whole number, found 8.5"));
  EXPECT_THAT(error("d_model", "8"), HasSubstr("expected a whole number, found \"8\""));
  EXPECT_THAT(error("d_model", 0), HasSubstr("key 'd_model': expected 4 to 8192, found 0"));
  EXPECT_THAT(error("d_model", std::uint64_t(1) << 63), HasSubstr("found 9223372036854775808"));
  EXPECT_THAT(error("encoder_layers", -1), HasSubstr("expected 1 to 128, found -1"));
  EXPECT_THAT(error("decoder_attention_heads", 3), HasSubstr("expected a divisor of 8, found 3"));
  EXPECT_THAT(error("num_mel_bins", 100), HasSubstr("expected 80 or 128, found 100"));
  EXPECT_THAT(error("max_source_positions", 3000), HasSubstr("expected 1500, found 3000"));
  EXPECT_THAT(error("vocab_size", 50257), HasSubstr("expected 51864 to 55962, found 50257"));
  EXPECT_THAT(error("activation_function", "relu"), HasSubstr("expected \"gelu\", found \"relu\""));
  EXPECT_THAT(error("tie_word_embeddings", false), HasSubstr("expected true, found false"));
  EXPECT_THAT(
      error_with("generation_config.json", "suppress_tokens", {51865}),
      HasSubstr("generation_config.json: key 'suppress_tokens': expected 0 to 51864, found"));
  EXPECT_THAT(error_with("generation_config.json", "alignment_heads", {{1, 0}}),
              HasSubstr("key 'alignment_heads': expected 0 to 0, found 1"));
  EXPECT_THAT(error_with("generation_config.json", "alignment_heads", {1}),
              HasSubstr("expected pairs of [layer, head], found 1"));
  EXPECT_THAT(error_with("preprocessor_config.json", "feature_size", 128),
              HasSubstr("preprocessor_config.json: key 'feature_size': expected 80, found 128"));
  write("config.json", "{\"model_type\": ");
  EXPECT_THAT(load_error(folder_), HasSubstr("config.json: expected JSON, found 15 bytes"));
  write("config.json", "[]");
  EXPECT_THAT(load_error(folder_), HasSubstr("expected a JSON object, found a list"));
}

TEST_F(WhisperFolder, ErrorsNameMissingAndMisshapenTensors) {
  EXPECT_THAT(error_with("config.json", "d_model", 16),
              AllOf(HasSubstr("model.safetensors: tensor 'model."), HasSubstr("expected shape ["),
                    HasSubstr("16")));
  EXPECT_THAT(error_with("config.json", "decoder_layers", 2),
              AllOf(HasSubstr("tensor 'model.decoder.layers.1."), HasSubstr("is missing")));
  EXPECT_THAT(error_with("config.json", "vocab_size", 51866),
              HasSubstr("tensor 'model.decoder.embed_tokens.weight': expected shape [51866, 8], "
                        "found [51865, 8]"));
}

TEST_F(WhisperFolder, RefusesAVocabularyOfAnotherSize) {
  json vocab = read_json("vocab.json");
  vocab.erase("<50000>");
  write("vocab.json", vocab.dump());
  EXPECT_THAT(load_error(folder_), HasSubstr("vocab.json"));
}

TEST_F(WhisperFolder, TruncatedWeightsAreOneLine) {
  const fs::path file = folder_ / "model.safetensors";
  const auto size = fs::file_size(file);
  for (std::uintmax_t left : {size - 1, size / 2, std::uintmax_t(3000), std::uintmax_t(100),
                              std::uintmax_t(8), std::uintmax_t(7), std::uintmax_t(0)}) {
    fs::resize_file(file, left);
    EXPECT_THAT(load_error(folder_), HasSubstr("model.safetensors: ")) << left;
  }
}

class WhisperGgml : public WhisperFolder {
 protected:
  void SetUp() override {
    content_ = ggml_file(load_checkpoint(folder_), GgmlType::kQ5_0);
    write("ggml.bin", content_);
  }
  /// With the n-th number of the header changed.
  std::string error_with_field(std::size_t n, std::int32_t value) {
    Bytes changed = content_;
    std::memcpy(changed.content.data() + 4 * n, &value, 4);
    write("ggml.bin", changed);
    return load_error(folder_ / "ggml.bin");
  }

  Bytes content_;
};

TEST_F(WhisperGgml, TruncatedAnywhereIsOneLine) {
  const fs::path file = folder_ / "ggml.bin";
  std::size_t size = content_.size();
  int tries = 0;
  // Every byte of the last tensor's end, then ever fewer, down to nothing.
  for (std::size_t step = 1; size > 0; ++tries) {
    size -= std::min(size, step);
    if (tries % 8 == 7) step += step / 2 + 1;
    fs::resize_file(file, size);
    ASSERT_THAT(load_error(file), HasSubstr("ggml.bin: ")) << size;
  }
  EXPECT_GT(tries, 100);
}

TEST_F(WhisperGgml, ErrorsNameTheFieldOfTheHeader) {
  EXPECT_THAT(error_with_field(1, 32000),
              HasSubstr("ggml.bin: key 'n_vocab': expected 51864 to 51866, found 32000"));
  EXPECT_THAT(error_with_field(2, 1), HasSubstr("key 'n_audio_ctx': expected 1500, found 1"));
  EXPECT_THAT(error_with_field(3, 16),
              HasSubstr("key 'n_text_state': expected 16 as n_audio_state, found 8"));
  EXPECT_THAT(error_with_field(4, 0), HasSubstr("key 'n_audio_head': expected 1 to 256, found 0"));
  EXPECT_THAT(error_with_field(5, 1 << 30), HasSubstr("key 'n_audio_layer': expected 1 to 128"));
  EXPECT_THAT(error_with_field(5, 2),
              AllOf(HasSubstr("tensor 'encoder.blocks.1."), HasSubstr("is missing")));
  EXPECT_THAT(
      error_with_field(6, 449),
      HasSubstr("tensor 'decoder.positional_embedding': expected shape [449, 8], found [448"));
  EXPECT_THAT(error_with_field(8, 5), HasSubstr("key 'n_text_head': expected a divisor of 8"));
  EXPECT_THAT(error_with_field(9, -7),
              HasSubstr("key 'n_text_layer': expected 1 to 128, found -7"));
  EXPECT_THAT(error_with_field(10, 81), HasSubstr("key 'n_mels': expected 80 or 128, found 81"));
  EXPECT_THAT(error_with_field(11, 1002), HasSubstr("version of the quantisation: expected 2"));
  EXPECT_THAT(error_with_field(0, 0x46554747), HasSubstr("ggml .bin file of whisper.cpp"));
}

TEST(RandomCheckpoint, HasTheShapesOfThePublicModels) {
  for (const char* name :
       {"tiny", "tiny.en", "base", "base.en", "small", "small.en", "medium", "medium.en",
        "large-v1", "large-v2", "large-v3", "large", "turbo", "large-v3-turbo"}) {
    const Checkpoint plain = random_checkpoint(name);
    EXPECT_TRUE(plain.random_weights);
    EXPECT_EQ(plain.config.dim / plain.config.decoder_heads, 64);
    EXPECT_EQ(plain.config.multilingual(), std::string(name).find(".en") == std::string::npos);
    EXPECT_EQ(random_checkpoint("whisper-" + std::string(name)).label, plain.label);
  }
  const Checkpoint turbo = random_checkpoint("turbo");
  EXPECT_EQ(turbo.label, "random whisper-large-v3-turbo");
  EXPECT_EQ(turbo.config.dim, 1280);
  EXPECT_EQ(turbo.config.encoder_layers, 32);
  EXPECT_EQ(turbo.config.decoder_layers, 4);
  EXPECT_EQ(turbo.config.mel_bins, 128);
  EXPECT_EQ(turbo.config.vocab_size, 51866);
  EXPECT_EQ(turbo.generation.alignment_heads.size(), 6u);
  EXPECT_EQ(turbo.tokenizer->special().first_timestamp, 50365);
  EXPECT_EQ(turbo.tokenizer->decode({{39, 50000}}), "H<50000>");
  EXPECT_THAT(error_of([] { random_checkpoint("huge"); }),
              AllOf(HasSubstr("tiny.en, tiny, base.en"), HasSubstr("found 'huge'")));
}

TEST(RandomCheckpoint, GivesAnyPartTheSameValues) {
  const Checkpoint a = random_checkpoint("tiny"), b = random_checkpoint("whisper-tiny");
  for (const auto& [tensor, shape] : tensor_shapes(a.config)) {
    if (engine::elements(shape) > 1'000'000) continue;
    const auto all = read_all(a, tensor);
    std::vector<float> part(97);
    const std::int64_t first = engine::elements(shape) - 97;
    b.tensors->read(tensor, first, part);
    ASSERT_TRUE(std::equal(part.begin(), part.end(), all.begin() + first)) << tensor;
  }
  // Another tensor, another model: other values.
  EXPECT_NE(read_all(a, "model.encoder.layers.0.fc1.bias"),
            read_all(a, "model.encoder.layers.1.fc1.bias"));
  EXPECT_NE(read_all(a, "model.encoder.layers.0.fc1.bias"),
            read_all(random_checkpoint("tiny.en"), "model.encoder.layers.0.fc1.bias"));
}

TEST(RandomCheckpoint, KeepsTheScaleOfActivations) {
  const Checkpoint checkpoint = random_checkpoint("base");
  for (const char* tensor : {"model.decoder.embed_tokens.weight", "model.encoder.conv1.weight",
                             "model.encoder.layers.3.fc2.weight"}) {
    const auto shape = tensor_shapes(checkpoint.config).at(tensor);
    const auto values = read_all(checkpoint, tensor);
    const double inputs = double(values.size()) / double(shape[0]);
    double sum = 0, squares = 0, neighbours = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      sum += values[i];
      squares += double(values[i]) * values[i];
      if (i) neighbours += double(values[i]) * values[i - 1];
    }
    const double noise = 5 / std::sqrt(double(values.size()));
    EXPECT_NEAR(squares / double(values.size()) * inputs, 1, noise) << tensor;
    EXPECT_NEAR(sum / double(values.size()) * std::sqrt(inputs), 0, noise) << tensor;
    EXPECT_NEAR(neighbours / squares, 0, noise) << tensor;
  }
  EXPECT_THAT(read_all(checkpoint, "model.decoder.layer_norm.weight"), Each(1.f));
  EXPECT_THAT(read_all(checkpoint, "model.decoder.layer_norm.bias"), Each(0.f));
  const auto positions = read_all(checkpoint, "model.encoder.embed_positions.weight");
  EXPECT_EQ(positions[0], 0);
  EXPECT_EQ(positions[256], 1);
  EXPECT_FLOAT_EQ(positions[512 * 7], std::sin(7.f));
  EXPECT_FLOAT_EQ(positions[512 * 7 + 511], float(std::cos(7e-4)));
}

}  // namespace
}  // namespace runnel::models::whisper
