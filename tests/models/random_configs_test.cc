// Any configuration that is let in runs: no memory beyond what was allocated (under
// AddressSanitizer), no value that isn't finite, the same result however the work is cut.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "engine/sanitizer.h"
#include "models/htdemucs/model_kwargs.h"
#include "models/htdemucs/package_description.h"
#include "models/moonshine/config_files.h"
#include "models/whisper/config_files.h"
#include "tests/models/network_runs.h"

namespace runnel::models {
namespace {

using nlohmann::json;
using testing::all_finite;

/// Fewer where each takes ten times as long.
constexpr int some(int configs) { return engine::kAddressSanitizer ? configs / 4 : configs; }

class Dice {
 public:
  explicit Dice(unsigned seed) : engine_(seed) {}
  int from(int low, int high) { return std::uniform_int_distribution(low, high)(engine_); }
  bool coin() { return from(0, 1) == 1; }
  template <class T>
  T one_of(std::initializer_list<T> values) {
    return values.begin()[from(0, int(values.size()) - 1)];
  }

 private:
  std::mt19937 engine_;
};

/// Draws until `parse` takes what it got; what it refuses it must refuse in one line.
template <class Draw, class Parse>
auto legal(const Draw& draw, const Parse& parse) -> decltype(parse(draw())) {
  for (int i = 0; i < 10'000; ++i) {
    try {
      return parse(draw());
    } catch (const std::runtime_error& error) {
      EXPECT_THAT(error.what(), ::testing::StartsWith("config.json: key '"));
      EXPECT_THAT(error.what(), ::testing::Not(::testing::HasSubstr("\n")));
    }
  }
  throw std::logic_error("no legal configuration");
}

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double most = 0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    most = std::max(most, std::abs(double(a[i]) - double(b[i])));
  }
  return most;
}

constexpr double kMostWork = 3e7;  // multiply-adds of a run

// ---- HTDemucs ----

json htdemucs_kwargs(Dice& dice) {
  json sources = json::array();
  for (int i = dice.from(1, 3); i > 0; --i) sources.push_back("stem" + std::to_string(i));
  const int nfft = dice.one_of({64, 128, 256}), stride = dice.one_of({2, 4, 8, 16});
  json kwargs = {{"sources", sources},
                 {"audio_channels", dice.from(1, 8)},
                 {"samplerate", 8000},
                 {"channels", dice.from(1, 24)},
                 {"growth", dice.from(1, 3)},
                 {"nfft", nfft},
                 {"depth", dice.from(1, 4)},
                 {"kernel_size", 2 * stride},
                 {"stride", stride},
                 {"dconv_depth", dice.from(1, 8)},
                 {"dconv_comp", dice.from(1, 8)},
                 {"bottom_channels", dice.coin() ? 0 : 4 * dice.from(1, 40)},
                 {"t_layers", dice.from(1, 3)},
                 {"t_heads", dice.from(1, 6)},
                 {"t_hidden_scale", dice.from(1, 12) / 4.0},
                 {"dconv_mode", 3}};
  kwargs["segment"] = json::array({nfft + dice.from(0, 3 * nfft), 8000});
  if (dice.coin()) kwargs["freq_emb"] = 0;
  return kwargs;
}

struct DrawnHtdemucs {
  htdemucs::Config config;
  json kwargs;
};

DrawnHtdemucs draw_htdemucs(Dice& dice) {
  const auto parse = [](const json& kwargs) {
    const json description = {
        {"klass", htdemucs::kModelClass}, {"args", json::array()}, {"kwargs", kwargs}};
    return DrawnHtdemucs{htdemucs::parse_config(description, "config.json"), kwargs};
  };
  for (;;) {
    const DrawnHtdemucs drawn = legal([&] { return htdemucs_kwargs(dice); }, parse);
    if (testing::work_of(drawn.config) < kMostWork) return drawn;
  }
}

TEST(RandomConfigs, OfHtdemucsRunToTheSameBitsOnAnyNumberOfThreads) {
  Dice dice(1);
  for (int i = 0; i < some(150); ++i) {
    const auto [config, kwargs] = draw_htdemucs(dice);
    SCOPED_TRACE(kwargs.dump());
    const auto run = [&config = config](engine::Precision precision, int threads) {
      return testing::run_htdemucs(
          config, {.encoder = precision, .decoder = precision, .threads = threads});
    };
    const std::vector<float> exact = run(engine::Precision::kFloat32, 1);
    ASSERT_TRUE(all_finite(exact));
    ASSERT_EQ(run(engine::Precision::kFloat32, 3), exact);
    const std::vector<float> rounded = run(engine::Precision::kBFloat16, 2);
    ASSERT_TRUE(all_finite(rounded));
    ASSERT_EQ(run(engine::Precision::kBFloat16, 1), rounded);
  }
}

TEST(RandomConfigs, OfHtdemucsThatDifferMakeNoBag) {
  Dice dice(2);
  const htdemucs::Config first = draw_htdemucs(dice).config;
  htdemucs::Bag bag;
  for (const int more : {0, 1}) {
    htdemucs::Config config = first;
    config.channels += 4 * more;
    bag.weights.emplace_back(config.sources.size(), 1.0f);
    bag.models.push_back({.config = config,
                          .tensors = testing::random_tensors(htdemucs::tensor_shapes(config)),
                          .label = "model " + std::to_string(more)});
  }
  EXPECT_THAT([&] { htdemucs::Network(bag, {.threads = 1}); },
              ::testing::ThrowsMessage<std::runtime_error>(
                  ::testing::HasSubstr("model 1: expected layers of the sizes of model 0")));
}

// ---- Whisper ----

json whisper_config(Dice& dice) {
  const auto dim_of = [&](int heads) { return heads * 2 * dice.from(1, 16); };
  const int heads = dice.from(1, 4);
  return {{"model_type", "whisper"},
          {"vocab_size", dice.one_of({51864, 51865, 51866})},
          {"num_mel_bins", dice.one_of({80, 128})},
          {"max_source_positions", 1500},
          {"max_target_positions", dice.from(8, 70)},
          {"d_model", std::min(dim_of(heads), 64)},
          {"encoder_layers", dice.from(1, 2)},
          {"encoder_attention_heads", heads},
          {"encoder_ffn_dim", dice.from(1, 100)},
          {"decoder_layers", dice.from(1, 2)},
          {"decoder_attention_heads", dice.from(1, 4)},
          {"decoder_ffn_dim", dice.from(1, 100)}};
}

TEST(RandomConfigs, OfWhisperSayTheSameTogetherAndStepByStep) {
  Dice dice(3);
  for (int i = 0; i < some(12); ++i) {
    const auto [config, text] =
        legal([&] { return whisper_config(dice).dump(); },
              [](const std::string& drawn) {
                return std::pair(whisper::parse_config(drawn, "config.json"), drawn);
              });
    SCOPED_TRACE(text);
    const int tokens = dice.from(2, config.text_ctx), together = dice.from(1, tokens - 1);
    const auto exact = testing::whisper_model(config, {.threads = 2});
    const std::vector<float> at_once = testing::run_whisper(exact, tokens, tokens);
    ASSERT_TRUE(all_finite(at_once));
    ASSERT_LT(largest_difference(testing::run_whisper(exact, tokens, together), at_once), 2e-3);
    const auto precision = dice.one_of(
        {engine::Precision::kBFloat16, engine::Precision::kFloat16, engine::Precision::kInt8});
    const auto rounded =
        testing::whisper_model(config, {.encoder = precision, .decoder = precision, .threads = 1});
    ASSERT_TRUE(all_finite(testing::run_whisper(rounded, tokens, together)));
  }
}

// ---- Moonshine ----

json moonshine_config(Dice& dice) {
  const int layers = dice.from(1, 3);
  json windows = json::array();
  for (int i = 0; i < layers; ++i) windows.push_back({dice.from(1, 20), dice.from(0, 8)});
  json config = {{"model_type", "moonshine_streaming"},
                 {"hidden_size", dice.from(1, 70)},
                 {"num_attention_heads", dice.from(1, 4)},
                 {"head_dim", 2 * dice.from(1, 20)},
                 {"num_hidden_layers", dice.from(1, 3)},
                 {"intermediate_size", dice.from(1, 90)},
                 {"max_position_embeddings", dice.from(8, 120)},
                 {"vocab_size", dice.from(4, 200)},
                 {"tie_word_embeddings", dice.coin()},
                 {"rope_parameters",
                  {{"rope_theta", 1e4}, {"partial_rotary_factor", dice.from(0, 10) / 10.0}}},
                 {"encoder_config",
                  {{"hidden_size", dice.from(1, 70)},
                   {"num_attention_heads", dice.from(1, 4)},
                   {"head_dim", 2 * dice.from(1, 20)},
                   {"intermediate_size", dice.from(1, 90)},
                   {"num_hidden_layers", layers},
                   {"sliding_windows", windows}}}};
  if (dice.coin()) config["encoder_config"]["hidden_size"] = config["hidden_size"];
  return config;
}

TEST(RandomConfigs, OfMoonshineHearTheSameInPiecesOfAnySize) {
  Dice dice(4);
  for (int i = 0; i < some(150); ++i) {
    auto [config, text] =
        legal([&] { return moonshine_config(dice).dump(); },
              [](const std::string& drawn) {
                return std::pair(moonshine::parse_config(drawn, "config.json"), drawn);
              });
    SCOPED_TRACE(text);
    config.beams = dice.from(1, 8);
    const auto windows =
        dice.coin() ? moonshine::WindowSemantics::kStrict : moonshine::WindowSemantics::kInclusive;
    const int limit = dice.from(1, 40);
    const auto run = [&, &config = config](const engine::ComputeConfig& compute, int chunk) {
      return testing::run_moonshine(config, compute, windows, chunk, limit);
    };
    const testing::Heard whole = run({.threads = 1}, 16000);
    ASSERT_TRUE(all_finite(whole.rows) && all_finite(whole.logprobs) && all_finite(whole.frames));
    ASSERT_LE(int(whole.tokens.size()), std::min(limit, config.decoder.max_tokens));
    for (const int token : whole.tokens) ASSERT_TRUE(token >= 0 && token < config.vocab_size);
    const testing::Heard pieces = run({.threads = 2}, dice.from(1, 3000));
    ASSERT_LT(largest_difference(pieces.rows, whole.rows), 1e-4);
    const auto precision = dice.one_of(
        {engine::Precision::kBFloat16, engine::Precision::kFloat16, engine::Precision::kInt8});
    const testing::Heard rounded =
        run({.encoder = precision, .decoder = precision, .threads = 1}, dice.from(1, 3000));
    ASSERT_TRUE(all_finite(rounded.rows) && all_finite(rounded.logprobs));
  }
}

}  // namespace
}  // namespace runnel::models
