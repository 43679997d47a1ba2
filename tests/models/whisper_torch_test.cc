// Whisper checkpoints in the forms that people have: PyTorch's files of Hugging Face and of OpenAI,
// and fine-tunes with more tokens.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "models/whisper/checkpoint.h"
#include "models/whisper/checkpoint_defaults.h"
#include "models/whisper/tensor_names.h"
#include "tests/engine/bytes.h"

namespace runnel::models::whisper {
namespace {

namespace fs = std::filesystem;
using engine::testing::error_of;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

const fs::path kFolder = "tests/fixtures/whisper";       // safetensors
const fs::path kTorch = "tests/fixtures/whisper-torch";  // the same weights
constexpr const char* kEmbeddings = "model.decoder.embed_tokens.weight";

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string safetensors(const json& header, std::string_view data) {
  const std::string text = header.dump();
  const engine::testing::Bytes head = engine::testing::safetensors(text, 0);
  std::string file(reinterpret_cast<const char*>(head.content.data()), head.content.size());
  return file.append(data);
}

std::string_view bytes_of(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), 4 * values.size()};
}

std::string base64(const std::string& bytes) {
  constexpr const char* kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t at = 0; at < bytes.size(); at += 3) {
    unsigned bits = 0;
    for (std::size_t i = at; i < at + 3; ++i) {
      bits = bits << 8 | (i < bytes.size() ? static_cast<unsigned char>(bytes[i]) : 0);
    }
    const std::size_t digits = std::min<std::size_t>(bytes.size() - at, 3) + 1;
    for (std::size_t i = 0; i < 4; ++i)
      text += i < digits ? kDigits[bits >> (18 - 6 * i) & 63] : '=';
  }
  return text.empty() ? "=" : text;  // as in OpenAI's file
}

class WhisperTorch : public ::testing::Test {
 protected:
  WhisperTorch() : original_(load_checkpoint(kFolder)) {
    folder_ = fs::temp_directory_path() /
              ("runnel-torch-" + std::to_string(::getpid()) + "-" +
               ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
  }
  ~WhisperTorch() override { fs::remove_all(folder_); }

  /// The Hugging Face folder without its weights.
  void copy_folder() const {
    fs::copy(kFolder, folder_);
    fs::remove(folder_ / "model.safetensors");
  }
  void take(const char* file, const char* name) const {
    fs::copy_file(kTorch / file, folder_ / name);
  }
  void write(const char* name, const std::string& text) const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
  }
  json read_json(const char* name) const { return json::parse(read_file(folder_ / name)); }
  std::string tiktoken() const {
    std::string text;
    for (int id = 0; id < original_.tokenizer->special().end_of_text; ++id) {
      text += base64(original_.tokenizer->decode_bytes(std::vector{id})) + " " +
              std::to_string(id) + "\n";
    }
    return text;
  }
  static std::vector<float> values(const Checkpoint& checkpoint, const std::string& tensor) {
    const auto shape = tensor_shapes(checkpoint.config).at(tensor);
    std::vector<float> all(std::size_t(engine::elements(shape)));
    checkpoint.tensors->expect(tensor, shape);
    checkpoint.tensors->read(tensor, 0, all);
    return all;
  }
  void expect_the_same(const Checkpoint& checkpoint) const {
    EXPECT_EQ(checkpoint.config.vocab_size, original_.config.vocab_size);
    EXPECT_EQ(checkpoint.config.encoder_ffn, original_.config.encoder_ffn);
    for (const auto& [tensor, shape] : tensor_shapes(original_.config)) {
      ASSERT_EQ(values(checkpoint, tensor), values(original_, tensor)) << tensor;
    }
    const std::string text = " by the river there was";
    EXPECT_EQ(checkpoint.tokenizer->encode(text), original_.tokenizer->encode(text));
    EXPECT_EQ(checkpoint.tokenizer->special().first_timestamp, 50364);
  }
  std::string load_error(const fs::path& path) const {
    const std::string error = error_of([&] { load_checkpoint(path); });
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
    return error;
  }

  const Checkpoint original_;
  fs::path folder_;
};

TEST_F(WhisperTorch, AHuggingFaceFolderMayHavePyTorchsWeights) {
  copy_folder();
  take("pytorch_model.bin", "pytorch_model.bin");
  for (const fs::path& path : {folder_, folder_ / "pytorch_model.bin"}) {
    const Checkpoint checkpoint = load_checkpoint(path);
    expect_the_same(checkpoint);
    EXPECT_EQ(checkpoint.generation.suppress_tokens, original_.generation.suppress_tokens);
  }
}

TEST_F(WhisperTorch, PyTorchsWeightsMayBeInShards) {
  copy_folder();
  take("shard.bin", "pytorch_model-00001-of-00002.bin");
  const auto embeddings = values(original_, kEmbeddings);
  const std::size_t size = 4 * embeddings.size();
  const json header = {{kEmbeddings,
                        {{"dtype", "F32"},
                         {"shape", {original_.config.vocab_size, original_.config.dim}},
                         {"data_offsets", {0, size}}}}};
  write("pytorch_model-00002-of-00002.bin", safetensors(header, bytes_of(embeddings)));
  json index;
  for (const auto& [tensor, shape] : tensor_shapes(original_.config)) {
    index["weight_map"][tensor] = tensor == kEmbeddings ? "pytorch_model-00002-of-00002.bin"
                                                        : "pytorch_model-00001-of-00002.bin";
  }
  write("pytorch_model.bin.index.json", index.dump());
  for (const fs::path& path : {folder_, folder_ / "pytorch_model.bin.index.json"}) {
    expect_the_same(load_checkpoint(path));
  }
}

TEST_F(WhisperTorch, OpenAisFileTakesAnyVocabularyBesideIt) {
  take("tiny.pt", "tiny.pt");
  const fs::path file = folder_ / "tiny.pt";
  EXPECT_THAT(load_error(file),
              AllOf(HasSubstr("tiny.pt: expected its vocabulary beside it, multilingual.tiktoken"),
                    HasSubstr("tokenizer.json")));
  write("multilingual.tiktoken", tiktoken());
  const Checkpoint checkpoint = load_checkpoint(file);
  expect_the_same(checkpoint);
  EXPECT_EQ(checkpoint.generation.suppress_tokens,
            default_generation(original_.config, *original_.tokenizer).suppress_tokens);
  fs::remove(folder_ / "multilingual.tiktoken");
  for (const char* name : {"vocab.json", "merges.txt"})
    fs::copy_file(kFolder / name, folder_ / name);
  expect_the_same(load_checkpoint(file));
}

TEST_F(WhisperTorch, AMalformedTiktokenFileIsOneLine) {
  take("tiny.pt", "tiny.pt");
  const std::string good = tiktoken();
  for (const std::string& bad :
       {good.substr(0, 1000), "IQ== 1\n" + good, good + "IQ== 7\n", std::string("I Q== 0\n"),
        std::string("\0\1\2", 3), "****" + good}) {
    write("multilingual.tiktoken", bad);
    EXPECT_THAT(load_error(folder_ / "tiny.pt"),
                ::testing::AnyOf(HasSubstr("multilingual.tiktoken: expected a token in base64"),
                                 HasSubstr("vocabulary: expected")))
        << bad.substr(0, 20);
  }
}

TEST_F(WhisperTorch, WhatIsNoCheckpointSaysWhatIsExpected) {
  write("other.pt", "not a checkpoint");
  EXPECT_THAT(load_error(folder_ / "other.pt"),
              AllOf(HasSubstr("a .pt file of openai-whisper"), HasSubstr("found another file")));
  fs::copy_file("tests/fixtures/torch/half.pt", folder_ / "half.pt");
  EXPECT_THAT(load_error(folder_ / "half.pt"), HasSubstr("found no config.json"));
}

/// A folder of 51865 + `added` tokens, whose last embeddings are NaN: nobody may look at them.
class WhisperFineTune : public WhisperTorch, public ::testing::WithParamInterface<int> {};

TEST_P(WhisperFineTune, TokensBehindTheTimestampsAreNotUsed) {
  const int added = GetParam();
  copy_folder();
  const std::string whole = read_file(kFolder / "model.safetensors");
  std::uint64_t length = 0;
  std::memcpy(&length, whole.data(), 8);
  json header = json::parse(whole.substr(8, length));
  // The grown embeddings go to the end.
  auto embeddings = values(original_, kEmbeddings);
  embeddings.resize(embeddings.size() + std::size_t(added * original_.config.dim), NAN);
  const std::size_t data = whole.size() - 8 - length;
  header[kEmbeddings] = {{"dtype", "F32"},
                         {"shape", {original_.config.vocab_size + added, original_.config.dim}},
                         {"data_offsets", {data, data + 4 * embeddings.size()}}};
  write("model.safetensors",
        safetensors(header, whole.substr(8 + length).append(bytes_of(embeddings))));
  json config = read_json("config.json");
  config["vocab_size"] = original_.config.vocab_size + added;
  write("config.json", config.dump());
  json tokens = {{"<|notimestamps|>", 50363}};
  for (int i = 0; i < added; ++i) {
    tokens["<|speaker" + std::to_string(i) + "|>"] = original_.config.vocab_size + i;
  }
  write("added_tokens.json", tokens.dump());
  const Checkpoint checkpoint = load_checkpoint(folder_);
  expect_the_same(checkpoint);
  EXPECT_EQ(checkpoint.tokenizer->vocab_size(), 51865);
  EXPECT_FALSE(checkpoint.tokenizer->is_timestamp(51865));
  // Without their names nobody knows what is below them; 51866 is what another public model has.
  fs::remove(folder_ / "added_tokens.json");
  if (added > 1) {
    EXPECT_THAT(load_error(folder_), HasSubstr("vocabulary size: expected 51864"));
  }
}

INSTANTIATE_TEST_SUITE_P(Added, WhisperFineTune, ::testing::Values(1, 2, 7, 103),
                         [](const auto& info) { return std::to_string(info.param) + "tokens"; });

}  // namespace
}  // namespace runnel::models::whisper
