// Whisper in CTranslate2's folders, beside the same weights in the other forms.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "models/whisper/transcriber.h"
#include "tests/models/test_audio.h"
#include "tests/models/whisper_ctranslate2.h"
#include "tests/models/whisper_ggml.h"
#include "tests/models/whisper_goldens.h"

namespace runnel::models::whisper {
namespace {

namespace fs = std::filesystem;
using engine::DType;
using engine::testing::Bytes;
using engine::testing::CTranslate2File;
using engine::testing::error_of;
using nlohmann::json;
using testing::ctranslate2_file;
using testing::golden;
using ::testing::HasSubstr;

const fs::path kFixture = "tests/fixtures/whisper";

struct Form {
  const char* name;
  DType weights, others;
};
constexpr Form kForms[] = {
    {"float32", DType::kF32, DType::kF32},     {"float16", DType::kF16, DType::kF16},
    {"bfloat16", DType::kBF16, DType::kBF16},  {"int8_float32", DType::kI8, DType::kF32},
    {"int8_float16", DType::kI8, DType::kF16}, {"int16", DType::kI16, DType::kF32}};

std::vector<float> read_all(const TensorSource& tensors, const std::string& tensor,
                            const engine::Shape& shape) {
  tensors.expect(tensor, shape);
  std::vector<float> values(std::size_t(engine::elements(shape)));
  tensors.read(tensor, 0, values);
  tensors.done(tensor);
  return values;
}

/// What a value is when it has been stored in a type, and its row scaled as the converter does it.
std::vector<float> rounded(std::vector<float> values, DType type, std::int64_t rows) {
  const auto to_integers = [](std::span<float> part, float scale) {
    for (float& v : part) v = std::rint(v * scale) * (1 / scale);
  };
  const auto most = [](std::span<const float> part) {
    return std::accumulate(part.begin(), part.end(), 0.f,
                           [](float a, float b) { return std::max(a, std::fabs(b)); });
  };
  if (type == DType::kI16) to_integers(values, 1024 / most(values));
  const std::size_t row = values.size() / std::size_t(rows);
  for (std::size_t at = 0; type == DType::kI8 && at < values.size(); at += row) {
    const auto part = std::span(values).subspan(at, row);
    to_integers(part, 127 / most(part));
  }
  for (float& v : values) {
    if (type == DType::kF16) v = engine::half_to_float(engine::testing::to_half(v));
    const auto bits = std::bit_cast<std::uint32_t>(v);
    if (type == DType::kBF16) {
      v = std::bit_cast<float>((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000);
    }
  }
  return values;
}

/// The values that a file of a form stands for, by Hugging Face's names.
class RoundedSource final : public TensorSource {
 public:
  RoundedSource(const Checkpoint& original, const Form& form) {
    for (auto& [name, variable] : testing::ctranslate2_variables(original)) {
      variables_[name] =
          rounded(variable.values, name.ends_with("/weight") ? form.weights : form.others,
                  variable.shape[0]);
    }
  }
  bool contains(std::string_view tensor) const override {
    return variables_.contains(ctranslate2_name(tensor).name);
  }
  void expect(std::string_view, const engine::Shape&) const override {}
  void read(std::string_view tensor, std::int64_t first, std::span<float> out) const override {
    const CTranslate2Name name = ctranslate2_name(tensor);
    const auto& values = variables_.at(name.name);
    const std::size_t part = values.size() / std::size_t(name.parts) * std::size_t(name.part);
    std::copy_n(values.begin() + std::ptrdiff_t(part) + first, out.size(), out.begin());
  }

 private:
  std::map<std::string, std::vector<float>> variables_;
};

/// A folder to fill, gone with the test.
class WhisperCTranslate2 : public ::testing::Test {
 protected:
  WhisperCTranslate2() {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::temp_directory_path() /
              ("runnel-ct2-" + std::to_string(::getpid()) + "-" + test->name());
    fs::create_directories(folder_);
  }
  ~WhisperCTranslate2() override { fs::remove_all(folder_); }

  void write(const fs::path& file, std::string_view content) const {
    std::ofstream(folder_ / file, std::ios::binary | std::ios::trunc) << content;
  }
  void write(const fs::path& file, const Bytes& content) const {
    write(file,
          std::string_view(reinterpret_cast<const char*>(content.content.data()), content.size()));
  }
  /// All that a converter writes.
  void write_folder(const Checkpoint& checkpoint, const Form& form) const {
    write("model.bin", ctranslate2_file(checkpoint, form.weights, form.others).file());
    write("vocabulary.json", json(testing::ctranslate2_vocabulary(*checkpoint.tokenizer)).dump());
    write("config.json", testing::ctranslate2_config_json(checkpoint).dump());
  }
  std::string load_error() const { return load_error(folder_); }
  static std::string load_error(const fs::path& path) {
    const std::string error = error_of([&] { load_checkpoint(path); });
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
    return error;
  }

  fs::path folder_;
};

TEST_F(WhisperCTranslate2, ReadsTheSameAsTheFolderOfTheSameWeights) {
  const Checkpoint original = load_checkpoint(kFixture);
  for (const Form& form : kForms) {
    SCOPED_TRACE(form.name);
    write_folder(original, form);
    const RoundedSource expected(original, form);
    for (const fs::path& path : {folder_, folder_ / "model.bin"}) {
      const Checkpoint found = load_checkpoint(path);
      EXPECT_EQ(found.label, (folder_ / "model.bin").string());
      EXPECT_EQ(found.config.dim, original.config.dim);
      EXPECT_EQ(found.config.vocab_size, original.config.vocab_size);
      EXPECT_EQ(found.config.mel_bins, original.config.mel_bins);
      EXPECT_EQ(found.config.encoder_layers, original.config.encoder_layers);
      EXPECT_EQ(found.config.decoder_layers, original.config.decoder_layers);
      EXPECT_EQ(found.config.encoder_heads, original.config.encoder_heads);
      EXPECT_EQ(found.config.decoder_heads, original.config.decoder_heads);
      EXPECT_EQ(found.config.encoder_ffn, original.config.encoder_ffn);
      EXPECT_EQ(found.config.decoder_ffn, original.config.decoder_ffn);
      EXPECT_EQ(found.config.text_ctx, original.config.text_ctx);
      EXPECT_EQ(found.generation.suppress_tokens, original.generation.suppress_tokens);
      EXPECT_EQ(found.generation.begin_suppress_tokens, original.generation.begin_suppress_tokens);
      EXPECT_EQ(found.generation.alignment_heads, original.generation.alignment_heads);
      EXPECT_EQ(found.generation.max_initial_timestamp_index, 50);
      for (const auto& [tensor, shape] : tensor_shapes(original.config)) {
        EXPECT_TRUE(found.tensors->contains(tensor));
        ASSERT_EQ(read_all(*found.tensors, tensor, shape), read_all(expected, tensor, shape))
            << tensor;
      }
    }
  }
}

std::vector<int> tokens_of(Checkpoint checkpoint, const std::vector<float>& audio) {
  const auto model = std::make_shared<const Model>(
      std::move(checkpoint), engine::ComputeConfig{.encoder = engine::Precision::kFloat32,
                                                   .decoder = engine::Precision::kFloat32,
                                                   .threads = 2});
  DecodeOptions options;
  options.language = "en";
  options.temperatures = {0.0};
  options.beam_size = 1;
  options.max_tokens = 32;
  options.no_speech_threshold.reset();
  options.logprob_threshold.reset();
  options.compression_ratio_threshold.reset();
  Transcriber transcriber(model, options, nullptr);
  std::vector<int> tokens;
  const auto keep = [&](const Segment& segment) {
    tokens.insert(tokens.end(), segment.tokens.begin(), segment.tokens.end());
  };
  transcriber.push(audio, keep);
  transcriber.finish(keep);
  return tokens;
}

TEST_F(WhisperCTranslate2, AllFormsOfACheckpointGiveTheSameTokens) {
  const fs::path folder = golden("Own", "whisper-multilingual");
  std::vector<float> audio = models::testing::read_mono((folder / "input.wav").string());
  audio.resize(5 * kSampleRateHz);
  const Checkpoint original = load_checkpoint(folder);
  const std::vector<int> expected = tokens_of(load_checkpoint(folder), audio);
  EXPECT_GT(expected.size(), 5u);
  write("ggml.bin", testing::ggml_file(original, engine::GgmlType::kF32));
  EXPECT_EQ(tokens_of(load_checkpoint(folder_ / "ggml.bin"), audio), expected);
  for (const Form& form : {kForms[0], kForms[1], kForms[4]}) {
    SCOPED_TRACE(form.name);
    write_folder(original, form);
    std::vector<int> same = expected;
    if (form.weights == DType::kI8) {  // what the integers stand for, without a file
      Checkpoint stood_for = load_checkpoint(folder);
      stood_for.tensors = std::make_unique<RoundedSource>(original, form);
      same = tokens_of(std::move(stood_for), audio);
    }
    EXPECT_EQ(tokens_of(load_checkpoint(folder_), audio), same);
  }
}

TEST_F(WhisperCTranslate2, TheVocabularyIsInAnyOfItsFiles) {
  const Checkpoint original = load_checkpoint(kFixture);
  const auto tokens = testing::ctranslate2_vocabulary(*original.tokenizer);
  write("model.bin", ctranslate2_file(original, DType::kF16, DType::kF16).file());
  EXPECT_THAT(load_error(),
              HasSubstr(": expected tokenizer.json, or vocab.json and merges.txt, or "
                        "CTranslate2's vocabulary.json or vocabulary.txt, found none"));
  const auto expect_loads = [&] {
    const Checkpoint found = load_checkpoint(folder_);  // there is no config.json
    for (int id = 0; id < original.tokenizer->special().end_of_text; ++id) {
      ASSERT_EQ(found.tokenizer->decode_bytes({{id}}), original.tokenizer->decode_bytes({{id}}));
    }
    const std::string text = " by the river there was";
    EXPECT_EQ(found.tokenizer->encode(text), original.tokenizer->encode(text));
    EXPECT_EQ(found.generation.begin_suppress_tokens, (std::vector<int>{220, 50257}));
    EXPECT_EQ(found.generation.alignment_heads.size(), 2u);
  };
  for (const char* line_end : {"\n", "\r\n"}) {
    std::string lines;
    for (const std::string& token : tokens) lines += token + line_end;
    write("vocabulary.txt", lines);
    expect_loads();
  }
  write("vocabulary.txt", "!\n");
  EXPECT_THAT(load_error(), HasSubstr("vocabulary.txt: expected tokens 0 to 50255 for a vocabulary "
                                      "of 51865, found none with id 1"));
  write("vocabulary.json", json(tokens).dump());  // before vocabulary.txt
  expect_loads();
  const auto error_with = [&](std::size_t id, const json& token) {
    json changed = tokens;
    changed[id] = token;
    write("vocabulary.json", changed.dump());
    return load_error();
  };
  EXPECT_THAT(error_with(7, 8), HasSubstr("vocabulary.json: token 7: expected a string, found 8"));
  EXPECT_THAT(error_with(9, "<|en|>"),
              HasSubstr("vocabulary.json: token '<|en|>': expected id 50259 in a vocabulary of "
                        "51865, found 9"));
  EXPECT_THAT(error_with(9, "a b"), HasSubstr("expected characters of a byte-level vocabulary"));
  EXPECT_THAT(error_with(51865, "more"),
              HasSubstr("token 'more': expected an id below 51865, found 51865"));
  write("vocabulary.json", json(tokens).dump().substr(0, 1000));
  EXPECT_THAT(
      load_error(),
      HasSubstr("vocabulary.json: expected a JSON list of tokens, found none (truncated?)"));
  write("vocabulary.json", "{}");
  EXPECT_THAT(load_error(), HasSubstr("expected a JSON list of tokens, found a value of type obj"));
  write("vocabulary.json", json(tokens).dump());
  write("tokenizer.json", "{}");  // before both
  EXPECT_THAT(load_error(), HasSubstr("tokenizer.json: "));
}

TEST_F(WhisperCTranslate2, TokensBehindTheTimestampsAreLeftOut) {
  const Checkpoint original = load_checkpoint(kFixture);
  auto tokens = testing::ctranslate2_vocabulary(*original.tokenizer);
  tokens.insert(tokens.end(), {"<mine>", "<yours>"});
  write("vocabulary.json", json(tokens).dump());
  CTranslate2File whole = ctranslate2_file(original, DType::kF16, DType::kF16);
  const auto added_rows = [&] {
    CTranslate2File file;
    for (const auto& [name, value] : {std::pair{"decoder/activation", 3},
                                      {"decoder/pre_norm", 1},
                                      {"decoder/num_heads", 2},
                                      {"encoder/num_heads", 2}}) {
      file.add(name, DType::kI8, {}, std::vector<float>{float(value)});
    }
    for (auto& [name, variable] : testing::ctranslate2_variables(original)) {
      if (name == "decoder/embeddings/weight") {
        variable.shape[0] += 2;
        variable.values.resize(variable.values.size() + 16);
      }
      file.add(name, DType::kF16, variable.shape, variable.values);
    }
    file.aliases = whole.aliases;
    return file.file();
  };
  write("model.bin", added_rows());
  const Checkpoint found = load_checkpoint(folder_);
  EXPECT_EQ(found.config.vocab_size, 51865);
  const std::string embeddings = "model.decoder.embed_tokens.weight";
  EXPECT_EQ(read_all(*found.tensors, embeddings, {51865, 8}),
            read_all(*original.tensors, embeddings, {51865, 8}));
}

TEST_F(WhisperCTranslate2, TheHubsCacheHasLinks) {
  const Checkpoint original = load_checkpoint(kFixture);
  write_folder(original, kForms[1]);
  fs::create_directories(folder_ / "blobs");
  fs::create_directories(folder_ / "snapshots" / "0a1b");
  for (const char* name : {"model.bin", "vocabulary.json", "config.json"}) {
    fs::rename(folder_ / name, folder_ / "blobs" / ("of-" + std::string(name)));
    fs::create_symlink("../../blobs/of-" + std::string(name), folder_ / "snapshots/0a1b" / name);
  }
  for (const char* path : {"snapshots/0a1b", "snapshots/0a1b/model.bin"}) {
    EXPECT_EQ(load_checkpoint(folder_ / path).generation.suppress_tokens,
              original.generation.suppress_tokens);
  }
  // A download that isn't done: the link leads nowhere.
  fs::rename(folder_ / "blobs/of-model.bin", folder_ / "blobs/of-model.bin.incomplete");
  EXPECT_THAT(load_error(folder_ / "snapshots/0a1b"),
              HasSubstr("or CTranslate2's with model.bin, found no model.safetensors"));
  fs::resize_file(folder_ / "blobs/of-model.bin.incomplete", 5000);
  EXPECT_THAT(load_error(folder_ / "blobs/of-model.bin.incomplete"),
              HasSubstr("truncated, or not a CTranslate2 file"));
}

TEST_F(WhisperCTranslate2, TruncatedAnywhereIsOneLine) {
  const Checkpoint original = load_checkpoint(kFixture);
  write_folder(original, kForms[4]);
  const fs::path file = folder_ / "model.bin";
  std::size_t size = fs::file_size(file);
  int tries = 0;
  for (std::size_t step = 1; size > 0; ++tries) {
    size -= std::min(size, step);
    if (tries % 8 == 7) step += step / 2 + 1;
    fs::resize_file(file, size);
    ASSERT_THAT(load_error(), HasSubstr("model.bin: expected ")) << size;
  }
  EXPECT_GT(tries, 100);
}

TEST_F(WhisperCTranslate2, ErrorsNameWhatIsNotWhisper) {
  const Checkpoint original = load_checkpoint(kFixture);
  write_folder(original, kForms[1]);
  const CTranslate2File whole = ctranslate2_file(original, DType::kF16, DType::kF16);
  const auto error_of_file = [&](const CTranslate2File& file) {
    write("model.bin", file.file());
    return load_error();
  };
  CTranslate2File file = whole;
  file.model = "TransformerSpec";
  EXPECT_THAT(error_of_file(file),
              HasSubstr("model.bin: kind of model: expected WhisperSpec, found TransformerSpec"));
  file = whole;
  file.revision = 4;
  EXPECT_THAT(error_of_file(file), HasSubstr("revision of WhisperSpec: expected 1 to 3, found 4"));
  file.revision = 2;
  EXPECT_THAT(error_of_file(file), HasSubstr("setting 'decoder/activation': expected 1, found 3"));
  file = whole;
  file.aliases.clear();
  EXPECT_THAT(error_of_file(file), HasSubstr("tensor 'decoder/projection/weight' of shape [51865, "
                                             "8] is missing"));
  auto embeddings = testing::ctranslate2_variables(original).at("decoder/embeddings/weight");
  file.add("decoder/projection/weight", DType::kF16, embeddings.shape, embeddings.values);
  EXPECT_EQ(error_of_file(file), "");  // equal without being an alias
  file = whole;
  file.aliases.clear();
  embeddings.values.back() += 1;
  file.add("decoder/projection/weight", DType::kF16, embeddings.shape, embeddings.values);
  EXPECT_THAT(error_of_file(file),
              HasSubstr("tensor 'decoder/projection/weight': expected the "
                        "values of 'decoder/embeddings/weight', found others in row 51864"));
  // Equal integers that stand for other values.
  file = ctranslate2_file(original, DType::kI8, DType::kF16);
  file.aliases.clear();
  embeddings.values.back() -= 1;
  for (float& value : embeddings.values) value *= 2;
  file.add_quantised("decoder/projection/weight", DType::kI8, embeddings.shape, embeddings.values);
  EXPECT_THAT(error_of_file(file), HasSubstr("found others in row 0"));
  file = whole;
  file.add("decoder/layer_0/self_attention/relative_position_keys", DType::kF16, {1},
           std::vector<float>{0});
  EXPECT_THAT(error_of_file(file),
              HasSubstr("relative_position_keys': expected none in a Whisper"));
  file = whole;
  file.add("decoder/sliding_window", DType::kI32, {}, std::vector<float>{0});
  EXPECT_EQ(error_of_file(file), "");  // off
  file = whole;
  file.add("decoder/sliding_window", DType::kI32, {}, std::vector<float>{9});
  EXPECT_THAT(error_of_file(file),
              HasSubstr("setting 'decoder/sliding_window': expected 0 or none, found another"));
}

TEST_F(WhisperCTranslate2, ErrorsNameSizesAndKeys) {
  const Checkpoint original = load_checkpoint(kFixture);
  write_folder(original, kForms[1]);
  const auto variables = testing::ctranslate2_variables(original);
  // The file with one variable in another shape, or without it.
  const auto error_with = [&](const std::string& changed, const engine::Shape& shape,
                              int heads = 2) {
    CTranslate2File file;
    for (const auto& [name, value] : {std::pair{"decoder/activation", 3},
                                      {"decoder/pre_norm", 1},
                                      {"decoder/num_heads", heads},
                                      {"encoder/num_heads", 2}}) {
      file.add(name, DType::kI8, {}, std::vector<float>{float(value)});
    }
    for (auto [name, variable] : variables) {
      if (name == changed && shape.empty()) continue;
      if (name == changed)
        variable = {shape, std::vector<float>(std::size_t(engine::elements(shape)))};
      file.add(name, DType::kF16, variable.shape, variable.values);
    }
    if (changed != "decoder/embeddings/weight" || !shape.empty()) {
      file.aliases = {{"decoder/projection/weight", "decoder/embeddings/weight"}};
    }
    write("model.bin", file.file());
    return load_error();
  };
  EXPECT_EQ(error_with("", {}), "");
  EXPECT_THAT(error_with("decoder/embeddings/weight", {}),
              HasSubstr("tensor 'decoder/embeddings/weight': expected 2 dimensions, found none"));
  EXPECT_THAT(error_with("decoder/embeddings/weight", {100, 8}),
              HasSubstr("model.bin: key 'vocab_size': expected 51864 to 55962, found 100"));
  EXPECT_THAT(error_with("encoder/conv1/weight", {8, 81, 3}),
              HasSubstr("key 'num_mel_bins': expected 80 or 128, found 81"));
  EXPECT_THAT(error_with("encoder/conv1/weight", {8, 240}),
              HasSubstr("'encoder/conv1/weight': expected 3 dimensions, found shape [8, 240]"));
  EXPECT_THAT(error_with("", {}, 3),
              HasSubstr("key 'decoder_attention_heads': expected a divisor of 8, found 3"));
  EXPECT_THAT(error_with("decoder/layer_0/attention/linear_1/weight", {17, 8}),
              HasSubstr("tensor 'decoder/layer_0/attention/linear_1/weight': expected shape "
                        "[16, 8], found [17, 8]"));
  EXPECT_THAT(error_with("encoder/layer_0/self_attention/linear_0/bias", {}),
              HasSubstr("tensor 'encoder/layer_0/self_attention/linear_0/bias' of shape [24] is "
                        "missing"));
  EXPECT_EQ(error_with("", {}), "");
  write("config.json", R"({"suppress_ids": [51865]})");
  EXPECT_THAT(load_error(), HasSubstr("config.json: key 'suppress_ids': expected 0 to 51864, found "
                                      "51865"));
  write("config.json", R"({"alignment_heads": [[1, 0]]})");
  EXPECT_THAT(load_error(), HasSubstr("config.json: key 'alignment_heads': expected 0 to 0"));
  write("config.json", "{");
  EXPECT_THAT(load_error(), HasSubstr("config.json: expected JSON"));
  write("config.json", "{}");
  write("preprocessor_config.json", R"({"feature_size": 128})");
  EXPECT_THAT(load_error(), HasSubstr("key 'feature_size': expected 80, found 128"));
}

}  // namespace
}  // namespace runnel::models::whisper
