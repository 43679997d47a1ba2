#include "models/htdemucs/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <functional>
#include <iterator>

#include "models/htdemucs/bag_file.h"
#include "models/htdemucs/model_kwargs.h"
#include "models/htdemucs/tensor_names.h"
#include "tests/engine/bytes.h"
#include "tests/models/goldens.h"

namespace runnel::models::htdemucs {
namespace {

namespace fs = std::filesystem;
using engine::testing::error_of;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::golden;
using ::testing::HasSubstr;
using ::testing::Not;
using namespace std::string_literals;

const fs::path kFixture = "tests/fixtures/htdemucs";
constexpr const char* kPackage = "0a1b2c3d-65f5d38f.th";

/// A folder that goes when the test does.
class HtdemucsCheckpoint : public ::testing::Test {
 protected:
  HtdemucsCheckpoint() {
    std::string name = (fs::temp_directory_path() / "runnel-htdemucs-XXXXXX").string();
    folder_ = mkdtemp(name.data());
  }
  ~HtdemucsCheckpoint() override { fs::remove_all(folder_); }

  fs::path write(const std::string& name, const std::string& content) const {
    std::ofstream(folder_ / name, std::ios::binary) << content;
    return folder_ / name;
  }
  /// The fixture's package under another name, every `from` replaced by a `to` of the same length.
  fs::path package(const std::string& name, const std::string& from = "",
                   const std::string& to = "") const {
    std::string content = read_file(kFixture / kPackage);
    EXPECT_EQ(from.size(), to.size());
    EXPECT_THAT(content, HasSubstr(from));
    for (auto at = content.find(from); !from.empty() && at != std::string::npos;
         at = content.find(from, at + 1)) {
      content.replace(at, to.size(), to);
    }
    return write(name, content);
  }
  static std::string read_file(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static std::string error(const fs::path& path) {
    return error_of([&] { open_bag(path); });
  }

  fs::path folder_;
};

std::vector<float> read_all(const Checkpoint& checkpoint, const std::string& tensor) {
  const auto shape = tensor_shapes(checkpoint.config).at(tensor);
  checkpoint.tensors->expect(tensor, shape);
  std::vector<float> values(std::size_t(engine::elements(shape)));
  checkpoint.tensors->read(tensor, 0, values);
  return values;
}

json config_json(const Config& c) {
  return {c.sources,
          c.audio_channels,
          c.samplerate,
          c.segment_numerator,
          c.channels,
          c.growth,
          c.nfft,
          c.segment_denominator,
          c.depth,
          c.kernel_size,
          c.stride,
          c.freq_emb,
          c.emb_scale,
          c.dconv_depth,
          c.dconv_comp,
          c.bottom_channels,
          c.t_layers,
          c.t_heads,
          c.t_hidden_scale,
          c.t_max_period,
          c.t_weight_pos_embed};
}

TEST_F(HtdemucsCheckpoint, ReadsAPackage) {
  const Bag bag = open_bag(kFixture / kPackage);
  ASSERT_EQ(bag.models.size(), 1U);
  EXPECT_THAT(bag.weights, ElementsAre(ElementsAre(1, 1, 1, 1)));
  const Checkpoint& model = bag.models[0];
  EXPECT_EQ(model.label, (kFixture / kPackage).string());
  EXPECT_FALSE(model.random_weights);
  const Config& config = model.config;
  EXPECT_THAT(config.sources, ElementsAre("drums", "bass", "other", "vocals"));
  EXPECT_EQ(config.samplerate, 8000);
  EXPECT_EQ(config.segment_numerator, 39);
  EXPECT_EQ(config.segment_denominator, 50);
  EXPECT_EQ(config.segment_samples(), 6240);
  EXPECT_EQ(config.channels, 4);
  EXPECT_EQ(config.nfft, 512);
  EXPECT_EQ(config.depth, 2);
  EXPECT_EQ(config.bottom_channels, 8);
  EXPECT_EQ(config.t_layers, 2);
  EXPECT_EQ(config.t_heads, 2);
  EXPECT_EQ(config.t_hidden_scale, 2.0f);
  // What isn't given has the constructor's default.
  EXPECT_EQ(config.growth, 2);
  EXPECT_EQ(config.kernel_size, 8);
  EXPECT_EQ(config.freq_emb, 0.2f);
  EXPECT_EQ(config.t_max_period, 10000.0f);
  for (const auto& [name, shape] : tensor_shapes(config)) {
    int first = 0;
    for (const char c : name) first += c;
    const std::vector<float> values = read_all(model, name);
    for (std::size_t i = 0; i < values.size(); ++i) {
      ASSERT_EQ(values[i], float((first + int(i)) % 64 - 32) / 32) << name << " " << i;
    }
  }
}

class HtdemucsForms : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(, HtdemucsForms, ::testing::ValuesIn(testing::golden_sets()),
                         testing::set_name);

TEST_P(HtdemucsForms, HoldTheSameModel) {
  for (const char* name : {"htdemucs", "htdemucs-6s"}) {
    const fs::path folder = golden(GetParam(), name);
    const Bag bag = open_bag(folder);  // its .yaml
    ASSERT_EQ(bag.models.size(), 1U);
    const Checkpoint& package = bag.models[0];
    const Bag safe_bag = open_bag(folder / "model.safetensors");
    const Checkpoint& safe = safe_bag.models[0];
    EXPECT_THAT(package.label, HasSubstr(".th"));
    EXPECT_EQ(config_json(package.config), config_json(safe.config));
    const TensorShapes shapes = tensor_shapes(package.config);
    EXPECT_EQ(shapes.size(), engine::Weights::open(folder / "model.safetensors").tensors().size());
    for (const auto& [tensor, shape] : shapes) {
      ASSERT_EQ(read_all(package, tensor), read_all(safe, tensor)) << tensor;
    }
  }
}

TEST_F(HtdemucsCheckpoint, FindsWhatAFolderHolds) {
  EXPECT_EQ(open_bag(kFixture).models.size(), 1U);
  package("0a1b2c3d.th");
  EXPECT_THAT(open_bag(folder_).models[0].label, HasSubstr("0a1b2c3d.th"));
  package("other.th");
  EXPECT_THAT(error(folder_), HasSubstr("found 0 .yaml and 2 .th"));
  write("bag.yaml", "models: [other]\n");
  EXPECT_THAT(open_bag(folder_).models[0].label, HasSubstr("other.th"));
  write("bag2.yaml", "models: [other]\n");
  EXPECT_THAT(error(folder_), HasSubstr("found 2 .yaml and 2 .th"));
}

TEST_F(HtdemucsCheckpoint, BagsAverageByTheirWeights) {
  package("aaaa.th");
  package("bbbb.th");
  const fs::path bag = write("bag.yaml", R"(# a bag
models: ['aaaa', "bbbb"]
weights: [
  [1., 0., 0.5, 2],   # aaaa
  [0., 1., 0.5, 1e-1],
]
segment: 44
)");
  EXPECT_THAT(open_bag(bag).weights,
              ElementsAre(ElementsAre(1, 0, 0.5, 2), ElementsAre(0, 1, 0.5, 0.1f)));
  write("bag.yaml", "models:\n- aaaa\n- bbbb\n");
  EXPECT_THAT(open_bag(bag).weights, ElementsAre(ElementsAre(1, 1, 1, 1), ElementsAre(1, 1, 1, 1)));
  write("bag.yaml", "models: [aaaa, bbbb]\nweights: [[1, 1, 1, 1]]");
  EXPECT_THAT(error(bag), HasSubstr("bag.yaml: expected weights of 2 models, found 1"));
  write("bag.yaml", "models: [aaaa, bbbb]\nweights: [[1, 1, 1], [1, 1, 1]]");
  EXPECT_THAT(error(bag), HasSubstr("key 'weights': expected 4 of each model, found 3"));
  write("bag.yaml", "models: [aaaa, bbbb]\nweights: [[1, 1, 0, 1], [1, 1, 0, 1]]");
  EXPECT_THAT(error(bag), HasSubstr("expected some weight for 'other'"));
}

TEST_F(HtdemucsCheckpoint, ModelsOfABagMustAgree) {
  package("aaaa.th");
  const fs::path bag = write("bag.yaml", "models: [aaaa, bbbb]");
  EXPECT_THAT(error(bag), HasSubstr("bag.yaml: model 'bbbb': expected one file bbbb-CHECKSUM.th "
                                    "beside it, found none"));
  package("bbbb.th", "drums", "drumz");
  EXPECT_THAT(error(bag), AllOf(HasSubstr("bbbb.th: expected the sources of "),
                                HasSubstr("aaaa.th, as models of one bag have")));
  package("bbbb.th", "39/50", "38/50");
  EXPECT_THAT(error(bag), HasSubstr("bbbb.th: expected the segment of "));
  package("bbbb.th");
  package("bbbb-2.th");
  EXPECT_THAT(error(bag), HasSubstr("model 'bbbb': expected one file"));
}

TEST_F(HtdemucsCheckpoint, VerifiesTheChecksumInTheName) {
  EXPECT_EQ(error(package(kPackage)), "");
  EXPECT_EQ(error(package("my-model.th")), "");  // no checksum
  EXPECT_THAT(error(package("0a1b2c3d-00f5d38f.th")),
              HasSubstr("0a1b2c3d-00f5d38f.th: expected SHA-256 00f5d38f… as in its name, found "
                        "65f5d38f…"));
  EXPECT_THAT(error(package(kPackage, "drums", "drumz")), HasSubstr("expected SHA-256 65f5d38f"));
}

TEST_F(HtdemucsCheckpoint, RefusesOtherPackages) {
  EXPECT_THAT(
      error(package("a.th", "cdemucs.htdemucs\nHTDemucs\n", "cdemucs.hdemucs\nHHHDemucs\n")),
      HasSubstr("a.th: key 'klass': expected demucs.htdemucs.HTDemucs, found "
                "demucs.hdemucs.HHHDemucs"));
  EXPECT_THAT(error(package("a.th", "state", "stale")),
              HasSubstr("expected a package of klass, args, kwargs and state, found no state"));
  EXPECT_THAT(error(package("a.th", "cfractions\nFraction\n", "cos\nsystemsystemsys\n")),
              AllOf(HasSubstr("a.th: key 'kwargs.segment': expected a number"),
                    HasSubstr("found an object")));
  const std::string whole = read_file(kFixture / kPackage);
  for (const std::size_t size : {0, 3, 30, 1000, 40'000, int(whole.size()) - 1}) {
    const std::string said = error(write("a.th", whole.substr(0, size)));
    EXPECT_THAT(said, HasSubstr("a.th")) << size;
    EXPECT_THAT(said, Not(HasSubstr("\n")));
  }
  EXPECT_THAT(error(write("a.bin", whole)), HasSubstr("a.bin: expected a .th package"));
  EXPECT_THAT(error(folder_ / "none.th"), HasSubstr("none.th"));
  EXPECT_THAT(error(folder_ / "none"), HasSubstr("found nothing"));
}

TEST_F(HtdemucsCheckpoint, NamesTensorsThatAreMissingMisshapenOrUnknown) {
  EXPECT_THAT(
      error(package("a.th", "encoder.1.rewrite.bias", "encoder.1.rewrite.bios")),
      HasSubstr("'encoder.1.rewrite.bios': expected none of this name, found one of shape"));
  // The transformer's layers as wide as they are, but said to be wider: 2.0 to 3.0 as doubles.
  EXPECT_THAT(error(package("a.th", "G@\0\0\0\0\0\0\0"s, "G@\x08\0\0\0\0\0\0"s)),
              HasSubstr("tensor 'crosstransformer.layers.0.linear1.bias': expected shape [24], "
                        "found [16]"));
  EXPECT_THAT(error(package("a.th", "crosstransformer.layers.0.norm1.bias",
                            "crosstransformer.layers.0.norm2.bias")),
              HasSubstr("tensor 'crosstransformer.layers.0.norm1.bias' of shape [8] is missing"));
}

TEST_F(HtdemucsCheckpoint, SafetensorsNeedTheirConfig) {
  const fs::path folder = golden("Own", "htdemucs");
  fs::copy_file(folder / "model.safetensors", folder_ / "model.safetensors");
  EXPECT_THAT(error(folder_),
              HasSubstr("model.safetensors: expected config.json beside it, found none"));
  write("config.json", R"({"model_type": "encodec"})");
  EXPECT_THAT(error(folder_), HasSubstr("config.json: key 'model_type': expected \"htdemucs\""));
  fs::copy_file(folder / "config.json", folder_ / "config.json",
                fs::copy_options::overwrite_existing);
  EXPECT_EQ(error(folder_), "");
}

json description() {
  return {{"klass", "demucs.htdemucs.HTDemucs"},
          {"args", json::array()},
          {"kwargs", {{"sources", {"a", "b"}}, {"dconv_mode", 3}, {"segment", 7.8}}}};
}

std::string kwargs_error(const std::string& key, const json& value) {
  json changed = description();
  changed["kwargs"][key] = value;
  return error_of([&] { parse_config(changed, "config.json"); });
}

TEST(HtdemucsKwargs, SecondsAreWholeSamples) {
  json text = description();
  EXPECT_EQ(parse_config(text, "x").segment_samples(), 343'980);
  EXPECT_EQ(parse_config(text, "x").segment_numerator, 39);
  text["segment_fraction"] = {78, 10};
  EXPECT_EQ(parse_config(text, "x").segment_denominator, 5);
  text["segment_fraction"] = {79, 10};
  EXPECT_THAT(error_of([&] { parse_config(text, "x"); }), HasSubstr("segment_fraction"));
  text = description();
  text["kwargs"]["segment"] = 1.00001;  // not a whole number of samples
  EXPECT_EQ(parse_config(text, "x").segment_samples(), 44'100);
  text["kwargs"].erase("segment");
  EXPECT_EQ(parse_config(text, "x").segment_samples(), 441'000);
}

TEST(HtdemucsKwargs, RefusesWhatIsNotSupported) {
  EXPECT_EQ(kwargs_error("channels_time", 48), "");
  EXPECT_EQ(kwargs_error("multi_freqs", ""), "");
  EXPECT_EQ(kwargs_error("t_norm_out", 1), "");  // Python's True
  EXPECT_EQ(kwargs_error("wiener_iters", 5), "");
  EXPECT_EQ(kwargs_error("of_a_later_version", true), "");
  EXPECT_EQ(kwargs_error("cac", false),
            "config.json: key 'kwargs.cac': expected true, found false");
  EXPECT_EQ(kwargs_error("t_emb", "cape"),
            "config.json: key 'kwargs.t_emb': expected \"sin\", found \"cape\"");
  const std::vector<std::pair<std::string, json>> unsupported = {
      {"rewrite", false},           {"multi_freqs", {0.5}},
      {"channels_time", 24},        {"context", 0},
      {"context_enc", 1},           {"dconv_mode", 1},
      {"norm_starts", 3},           {"t_sin_random_shift", 8},
      {"t_norm_in", false},         {"t_group_norm", 1},
      {"t_norm_first", false},      {"t_norm_out", 2},
      {"t_layer_scale", false},     {"t_gelu", 0},
      {"t_sparse_self_attn", true}, {"t_cross_first", true},
      {"t_sparse_cross_attn", 1},   {"use_train_segment", false}};
  for (const auto& [key, value] : unsupported) {
    EXPECT_THAT(kwargs_error(key, value), HasSubstr("key 'kwargs." + key + "': expected "));
  }
  json text = description();
  text["kwargs"].erase("dconv_mode");
  EXPECT_THAT(error_of([&] { parse_config(text, "x"); }),
              HasSubstr("'kwargs.dconv_mode': expected 3, found 1 (the default"));
  text = description();
  text["args"] = {1};
  EXPECT_THAT(error_of([&] { parse_config(text, "x"); }), HasSubstr("key 'args'"));
  text["klass"] = "demucs.hdemucs.HDemucs";
  EXPECT_THAT(error_of([&] { parse_config(text, "x"); }),
              HasSubstr("found \"demucs.hdemucs.HDemucs\""));
}

TEST(HtdemucsKwargs, RefusesHostileValues) {
  const json long_list(40, "a");
  const std::vector<std::pair<std::string, json>> hostile = {
      {"sources", json::array()},
      {"sources", long_list},
      {"sources", {"a", "a"}},
      {"sources", {"../a"}},
      {"sources", {".."}},
      {"sources", {"a\nb"}},
      {"sources", {1}},
      {"audio_channels", 0},
      {"audio_channels", 1e300},
      {"samplerate", -44100},
      {"samplerate", "44100"},
      {"segment", 0},
      {"segment", 1e18},
      {"segment", {1, 0}},
      {"segment", {std::int64_t(1) << 62, 1}},
      {"segment", {-39, 5}},
      {"segment", {400, 1}},
      {"channels", 1 << 30},
      {"channels", 7.5},
      {"growth", 0},
      {"nfft", 4095},
      {"nfft", 1 << 30},
      {"depth", 5},
      {"depth", 1'000'000},
      {"kernel_size", 7},
      {"stride", 3},
      {"dconv_comp", 0},
      {"dconv_comp", 64},
      {"dconv_depth", -2},
      {"bottom_channels", 510},
      {"t_heads", 7},
      {"t_heads", 0},
      {"t_layers", 1'000'000},
      {"t_hidden_scale", json(NAN)},
      {"t_hidden_scale", 1e9},
      {"t_max_period", 0},
      {"freq_emb", json(INFINITY)},
      {"emb_scale", {{"object", "x"}}},
      {"norm_starts", nullptr}};
  for (const auto& [key, value] : hostile) {
    const std::string said = kwargs_error(key, value);
    EXPECT_THAT(said, HasSubstr("config.json: key 'kwargs.")) << key << " " << value;
    EXPECT_THAT(said, HasSubstr(": expected "));
    EXPECT_LT(said.size(), 300U);
  }
}

TEST(HtdemucsBagFile, ReadsBlockAndFlowStyle) {
  const BagFile block = parse_bag_file(R"(---
# comment
models:
  - 955717e8   # one
  - '92cfc3b6'
weights:
- - 1.
  - 0
- [ 0.5,
    2.5e-1 ]
segment:   null
)",
                                       "bag");
  EXPECT_THAT(block.signatures, ElementsAre("955717e8", "92cfc3b6"));
  EXPECT_THAT(block.weights, ElementsAre(ElementsAre(1, 0), ElementsAre(0.5, 0.25)));
  const BagFile flow = parse_bag_file("models: [\"a\",b , ]\r\nsegment: 44\r\n", "bag");
  EXPECT_THAT(flow.signatures, ElementsAre("a", "b"));
  EXPECT_TRUE(flow.weights.empty());
}

TEST(HtdemucsBagFile, SaysInOneLineWhatItDoesNotRead) {
  const auto said = [](const std::string& text) {
    return error_of([&] { parse_bag_file(text, "bag.yaml"); });
  };
  EXPECT_EQ(said(""), "bag.yaml: line 1: expected the key models, found none");
  EXPECT_EQ(said("models: ['../a']"),
            "bag.yaml: line 1: expected a model's signature (letters and digits), found '../a'");
  EXPECT_THAT(said("models: a"), HasSubstr("expected a list of 1 to 64 models, found 'a'"));
  EXPECT_THAT(said("models: [a]\n\nmodels: [b]"), HasSubstr("line 3: expected each key once"));
  EXPECT_THAT(said("models: [a]\nweights: [[x]]"), HasSubstr("line 2: expected a number from 0"));
  EXPECT_THAT(said("models: [a]\nother: 1"), HasSubstr("the keys models, weights and segment"));
  for (const std::string bad : {"models: [a",
                                "models: [a]]",
                                "models: [a b: c]",
                                "models: {a: b}",
                                "models: &x [a]",
                                "models:",
                                "models",
                                ": a",
                                "[a]",
                                " models: [a]",
                                "models: 'a",
                                "models:\n  - a\n - b",
                                "models:\n  - a\n    - b",
                                "models: [[[[a]]]]",
                                "models: [a] b",
                                "models: [,]",
                                "models:\n- - - - a",
                                "models: [a]\nweights: [[1e999]]",
                                "models: [a]\nweights: [[-1]]",
                                "models: [a]\nweights: [1]",
                                "models: [a]\nsegment: [1]",
                                "models: [\x01]"}) {
    EXPECT_THAT(said(bad), HasSubstr("bag.yaml: line ")) << bad;
    EXPECT_THAT(said(bad), HasSubstr(": expected ")) << bad;
    EXPECT_THAT(said(bad), Not(HasSubstr("\n"))) << bad;
  }
}

TEST(HtdemucsRandom, HasThePublicShapes) {
  const Bag four = random_bag("htdemucs");
  ASSERT_EQ(four.models.size(), 1U);
  const Config& config = four.models[0].config;
  EXPECT_EQ(config.segment_samples(), 343'980);
  EXPECT_EQ(config.transformer_dim(), 512);
  std::int64_t parameters = 0;
  for (const auto& [name, shape] : tensor_shapes(config)) parameters += engine::elements(shape);
  EXPECT_NEAR(double(parameters), 42e6, 0.5e6);
  EXPECT_EQ(four.models[0].label, "random weights of htdemucs");
  EXPECT_TRUE(four.models[0].random_weights);
  const Bag six = random_bag("htdemucs_6s");
  EXPECT_EQ(six.models[0].config.sources.size(), 6U);
  EXPECT_EQ(six.models[0].config.transformer_dim(), 384);
  EXPECT_THAT(error_of([] { random_bag("hdemucs"); }),
              HasSubstr("htdemucs, htdemucs_ft or htdemucs_6s, found 'hdemucs'"));
}

TEST(HtdemucsRandom, FineTunedModelsDifferAndEachHasItsStem) {
  const Bag bag = random_bag("htdemucs_ft");
  ASSERT_EQ(bag.models.size(), 4U);
  EXPECT_THAT(bag.weights, ElementsAre(ElementsAre(1, 0, 0, 0), ElementsAre(0, 1, 0, 0),
                                       ElementsAre(0, 0, 1, 0), ElementsAre(0, 0, 0, 1)));
  const std::string tensor = "encoder.1.conv.weight";
  const std::vector<float> values = read_all(bag.models[0], tensor);
  EXPECT_EQ(values, read_all(random_bag("htdemucs_ft").models[0], tensor));
  EXPECT_NE(values, read_all(bag.models[1], tensor));
  double power = 0;
  for (const float v : values) power += double(v) * double(v);
  EXPECT_NEAR(power / double(values.size()) * 48 * 8, 1.0, 0.05);  // variance 1 / inputs
  EXPECT_THAT(read_all(bag.models[0], "encoder.1.dconv.layers.0.1.weight"), ::testing::Each(1.0f));
  EXPECT_THAT(read_all(bag.models[0], "crosstransformer.layers.1.gamma_1.scale"),
              ::testing::Each(0.1f));
}

}  // namespace
}  // namespace runnel::models::htdemucs
