#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "assets/embedded.h"
#include "models/catalog.h"
#include "models/gtcrn/network.h"
#include "models/gtcrn/weights.h"
#include "models/separator.h"
#include "tests/models/goldens.h"
#include "tests/models/test_audio.h"

namespace runnel::models {
namespace {

namespace fs = std::filesystem;
using testing::largest_difference;
using testing::noise;
using testing::read_mono;
using testing::run;

struct Reference {
  std::string name;
  fs::path weights;
  fs::path input;
  fs::path expected;  // of goldens, or a recording

  friend void PrintTo(const Reference& r, std::ostream* out) { *out << r.name; }
};

/// Our weights in PyTorch and in safetensors form, and the public ones where they are there.
std::vector<Reference> references() {
  const fs::path own = testing::golden("Own", "gtcrn-runnel");
  std::vector<Reference> all;
  for (const auto& [name, weights] :
       {std::pair<const char*, fs::path>{"OwnTar", own / "gtcrn.tar"},
        {"OwnFolder", "assets/models/gtcrn-runnel"},
        {"OwnSafetensors", "assets/models/gtcrn-runnel/model.safetensors"}}) {
    all.push_back({name, weights, own / "input.wav", own});
  }
  const fs::path shared = "../shared/weights/gtcrn-dns3";
  if (!fs::exists(shared)) return all;
  for (const auto& [name, file] : {std::pair{"PublicTar", "model_trained_on_dns3.tar"},
                                   {"PublicFolder", ""},
                                   {"PublicSafetensors", "model.safetensors"}}) {
    all.push_back({name, shared / file, "../shared/audio/gtcrn/mix.wav",
                   shared / "expected_mix_enh_zeropad.wav"});
  }
  return all;
}

class GtcrnReference : public ::testing::TestWithParam<Reference> {};

TEST_P(GtcrnReference, IsWhatTheStreamGives) {
  const Reference& reference = GetParam();
  const auto weights = gtcrn::load(reference.weights);
  const auto mix = read_mono(reference.input.string());
  const auto expected = fs::is_directory(reference.expected)
                            ? testing::expected_tensor(reference.expected, "speech").values
                            : read_mono(reference.expected.string());
  for (int chunk : {1, 7, 160, 4096, int(mix.size())}) {
    Separator separator(weights, {.rate_hz = 16000, .channels = 1, .max_chunk = chunk});
    const auto out = run(separator, {mix}, chunk).speech[0];
    ASSERT_EQ(out.size(), mix.size());
    EXPECT_LE(largest_difference(out, expected), 1e-5) << "chunks of " << chunk;
  }
}

INSTANTIATE_TEST_SUITE_P(, GtcrnReference, ::testing::ValuesIn(references()),
                         [](const auto& info) { return info.param.name; });

TEST(EmbeddedGtcrn, StreamEqualsItsTrainingCode) {
  const auto noisy = read_mono("tests/fixtures/gtcrn/noisy.wav"),
             expected = read_mono("tests/fixtures/gtcrn/expected_speech.wav");
  ASSERT_EQ(noisy.size(), expected.size());
  Separator separator(load_separator(std::string(kDefaultSeparator)),
                      {.rate_hz = 16000, .channels = 1, .max_chunk = 1000});
  const auto out = run(separator, {noisy}, 1000).speech[0];
  EXPECT_LE(largest_difference(out, expected), 1e-5);
}

TEST(EmbeddedGtcrn, LiftsSpeechOutOfNoise) {
  const auto noisy = read_mono("tests/fixtures/gtcrn/noisy.wav"),
             clean = read_mono("tests/fixtures/gtcrn/clean.wav");
  Separator separator(load_separator(std::string(kDefaultSeparator)),
                      {.rate_hz = 16000, .channels = 1, .max_chunk = 1000});
  const auto out = run(separator, {noisy}, 1000).speech[0];
  const auto si_sdr = [&](const std::vector<float>& x) {
    double dot = 0, energy = 0, rest = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      dot += double(x[i]) * clean[i];
      energy += double(clean[i]) * clean[i];
    }
    const double scale = dot / energy;
    for (std::size_t i = 0; i < x.size(); ++i) rest += std::pow(x[i] - scale * clean[i], 2);
    return 10 * std::log10(scale * scale * energy / rest);
  };
  EXPECT_GE(si_sdr(out) - si_sdr(noisy), 5.0) << "from " << si_sdr(noisy) << " dB";
}

TEST(Gtcrn, EveryIsaGivesTheSameMask) {
  const auto weights = load_separator(std::string(kDefaultSeparator));
  std::vector<std::unique_ptr<gtcrn::Network>> networks;
  for (engine::Isa isa : engine::supported_isas()) {
    networks.push_back(std::make_unique<gtcrn::Network>(weights, isa));
  }
  for (unsigned step = 0; step < 40; ++step) {
    const auto values = noise(2 * gtcrn::kBins, step);
    AlignedVector<std::complex<float>> bins(gtcrn::kBins), first(gtcrn::kBins), mask(first);
    for (int i = 0; i < gtcrn::kBins; ++i) bins[i] = {20 * values[2 * i], 20 * values[2 * i + 1]};
    networks[0]->step(bins, first);
    for (std::size_t n = 1; n < networks.size(); ++n) {
      networks[n]->step(bins, mask);
      for (int i = 0; i < gtcrn::kBins; ++i) ASSERT_LE(std::abs(mask[i] - first[i]), 1e-5f);
    }
  }
}

TEST(Gtcrn, ConfigNamesTheKeyThatDiffers) {
  const auto error_of = [](const std::string& text) -> std::string {
    try {
      gtcrn::parse_config(text, "model/config.json");
    } catch (const std::runtime_error& error) {
      return error.what();
    }
    return "";
  };
  auto config = nlohmann::json::parse(assets::gtcrn_runnel_config());
  EXPECT_EQ(error_of(config.dump()), "");
  config["hop_length"] = 128;
  EXPECT_EQ(error_of(config.dump()),
            "model/config.json: key 'hop_length': expected 256, found 128");
  config.erase("hop_length");
  EXPECT_EQ(error_of(config.dump()),
            "model/config.json: key 'hop_length' is missing (expected 256)");
  EXPECT_EQ(error_of("[]"), "model/config.json: expected a JSON object");
  EXPECT_EQ(error_of("{"), "model/config.json: expected a JSON object");
}

TEST(Gtcrn, MissingTensorIsNamedWithItsShape) {
  const std::string text = R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  std::string file(8, '\0');
  file[0] = char(text.size());
  file += text + std::string(4, '\0');
  const auto bytes = std::as_bytes(std::span(file));
  try {
    gtcrn::Weights(gtcrn::Config{}, engine::Weights::borrow(bytes, "small.safetensors"));
    FAIL() << "accepted";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(),
                 "small.safetensors: tensor 'erb.erb_fc.weight' of shape [64, 192] is missing");
  }
}

TEST(Catalog, SaysWhatThereIsInsteadOfAnUnknownModel) {
  try {
    load_separator("no-such-model");
    FAIL() << "accepted";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("gtcrn-runnel"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace runnel::models
