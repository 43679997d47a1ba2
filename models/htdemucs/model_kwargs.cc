#include "models/htdemucs/model_kwargs.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <utility>

#include "engine/kernels/attention.h"
#include "engine/kernels/taps.h"
#include "models/config_json.h"
#include "models/htdemucs/package_description.h"
#include "models/htdemucs/residual_branch.h"

namespace runnel::models::htdemucs {
namespace {

using nlohmann::json;

constexpr int kMaxSegmentSamples = 1 << 22;       // 95 s at 44.1 kHz
constexpr std::int64_t kMaxTerm = 1'000'000'000;  // of a fraction

/// As Python compares: True is 1.
json as_python(const json& value) {
  return value.is_boolean() ? json(value.get<bool>() ? 1 : 0) : value;
}

bool is_false(const json& value) {
  return value.empty() || as_python(value) == json(0) || value == json("");
}

class Kwargs {
 public:
  Kwargs(const json& kwargs, const std::string& label) : kwargs_(kwargs), label_(label) {}

  [[noreturn]] void fail(const char* key, const std::string& expected) const {
    const json* value = given(key);
    const std::string found = value ? describe(*value) : "none";
    fail(key, expected, found);
  }
  [[noreturn]] void fail(const char* key, const std::string& expected,
                         const std::string& found) const {
    fail_key(label_, std::string("kwargs.") + key, expected, found);
  }

  /// Null if it isn't given.
  const json* given(const char* key) const {
    const auto found = kwargs_.find(key);
    return found == kwargs_.end() ? nullptr : &*found;
  }

  double number(const char* key, double otherwise, double least, double most) const {
    const json* value = given(key);
    if (!value) return otherwise;
    const double number = value->is_number() ? value->get<double>() : NAN;
    if (!(number >= least && number <= most)) {
      fail(key, "a number from " + json(least).dump() + " to " + json(most).dump());
    }
    return number;
  }

  int whole(const char* key, int otherwise, int least, int most) const {
    const json* value = given(key);
    if (!value) return otherwise;
    const double number = value->is_number() ? value->get<double>() : NAN;
    if (!(number >= least && number <= most) || number != std::floor(number)) {
      fail(key, "a whole number from " + std::to_string(least) + " to " + std::to_string(most));
    }
    return int(number);
  }

  /// `otherwise`: the constructor's default.
  void must_be(const char* key, const json& supported, const json& otherwise) const {
    const json* value = given(key);
    if (as_python(value ? *value : otherwise) == as_python(supported)) return;
    fail(key, supported.dump(),
         value ? describe(*value) : otherwise.dump() + " (the default, as none is given)");
  }

  void must_be_false(const char* key) const {
    if (const json* value = given(key); value && !is_false(*value)) fail(key, "none or false");
  }

 private:
  const json& kwargs_;
  const std::string& label_;
};

/// Names become parts of file names.
std::vector<std::string> sources_of(const Kwargs& kwargs) {
  constexpr std::size_t kMaxSources = 32, kMaxNameBytes = 60;
  const std::string expected = "a list of 1 to 32 different names that can be file names";
  const json* list = kwargs.given("sources");
  if (!list || !list->is_array() || list->empty() || list->size() > kMaxSources) {
    kwargs.fail("sources", expected);
  }
  std::vector<std::string> sources;
  for (const json& item : *list) {
    const std::string name = item.is_string() ? item.get<std::string>() : "";
    const bool printable = std::all_of(name.begin(), name.end(), [](char c) {
      return static_cast<unsigned char>(c) >= 0x20 && c != 0x7F && c != '/' && c != '\\';
    });
    if (name.empty() || name.size() > kMaxNameBytes || name[0] == '.' || !printable ||
        std::find(sources.begin(), sources.end(), name) != sources.end()) {
      kwargs.fail("sources", expected, describe(item));
    }
    sources.push_back(name);
  }
  return sources;
}

/// [numerator, denominator], each from 1 on.
std::optional<std::pair<std::int64_t, std::int64_t>> fraction_of(const json& value) {
  if (!value.is_array() || value.size() != 2) return std::nullopt;
  std::int64_t terms[2];
  for (int i = 0; i < 2; ++i) {
    if (!value[std::size_t(i)].is_number_integer()) return std::nullopt;
    terms[i] = value[std::size_t(i)].get<std::int64_t>();
    if (terms[i] < 1 || terms[i] > kMaxTerm) return std::nullopt;
  }
  const std::int64_t divisor = std::gcd(terms[0], terms[1]);
  return std::pair(terms[0] / divisor, terms[1] / divisor);
}

/// A number of seconds, a fraction of them or, in config.json, both. The original makes as many
/// whole samples of a number as fit.
void read_segment(const json& description, const Kwargs& kwargs, const std::string& label,
                  Config& config) {
  const json* segment = kwargs.given("segment");
  const auto exact = description.find("segment_fraction");
  std::pair<std::int64_t, std::int64_t> seconds;
  if (segment && segment->is_array()) {
    const auto found = fraction_of(*segment);
    if (!found) kwargs.fail("segment", "a positive number of seconds");
    seconds = *found;
  } else {
    const double number = kwargs.number("segment", 10, 1e-3, 1e3);
    if (exact != description.end() && !exact->is_null()) {
      const auto found = fraction_of(*exact);
      if (!found) {
        fail_key(label, "segment_fraction", "[numerator, denominator]", describe(*exact));
      }
      seconds = *found;
      const double value = double(seconds.first) / double(seconds.second);
      if (segment && !(std::abs(value - number) <= 1e-6 * number)) {
        fail_key(label, "segment_fraction", "kwargs.segment, " + describe(*segment),
                 std::to_string(seconds.first) + " / " + std::to_string(seconds.second));
      }
    } else {
      const auto samples = std::int64_t(number * config.samplerate);
      const std::int64_t divisor = std::gcd(samples, std::int64_t(config.samplerate));
      seconds = {samples / divisor, config.samplerate / divisor};
    }
  }
  const std::int64_t samples = seconds.first * config.samplerate / seconds.second;
  if (samples < config.nfft || samples > kMaxSegmentSamples) {
    kwargs.fail("segment",
                std::to_string(config.nfft) + " to " + std::to_string(kMaxSegmentSamples) +
                    " samples of it at " + std::to_string(config.samplerate) + " Hz",
                std::to_string(samples));
  }
  config.segment_numerator = seconds.first;
  config.segment_denominator = seconds.second;
}

/// The layers of both branches must halve evenly, and the branches must never merge: where no more
/// frequencies than a kernel's are left, the original goes on with one branch.
void check_layers(const Config& config, const Kwargs& kwargs) {
  if (config.stride % 2 != 0) kwargs.fail("stride", "an even number");
  if (config.kernel_size != 2 * config.stride) {
    kwargs.fail("kernel_size", "twice the stride, " + std::to_string(2 * config.stride),
                std::to_string(config.kernel_size));
  }
  if ((config.nfft & (config.nfft - 1)) != 0) kwargs.fail("nfft", "a power of two");
  int frequencies = config.nfft / 2;
  for (int i = 0; i < config.depth; ++i, frequencies /= config.stride) {
    if (frequencies <= config.kernel_size || frequencies % config.stride != 0) {
      kwargs.fail("depth",
                  "layers that all see more than " + std::to_string(config.kernel_size) +
                      " frequencies, a multiple of the stride",
                  std::to_string(frequencies) + " in layer " + std::to_string(i));
    }
  }
  const int last = config.depth - 1;
  if (config.channels_of(last) > kMostChannels) {
    kwargs.fail("growth",
                "at most " + std::to_string(kMostChannels) + " channels in the last layer",
                std::to_string(config.channels_of(last)));
  }
  if (config.dconv_comp > config.channels) {
    kwargs.fail("dconv_comp", "at most the channels, " + std::to_string(config.channels),
                std::to_string(config.dconv_comp));
  }
  if (config.hidden_channels_of(last) > engine::kMostGram) {
    kwargs.fail(
        "dconv_comp",
        "at most " + std::to_string(engine::kMostGram) + " hidden channels in the last layer",
        std::to_string(config.hidden_channels_of(last)));
  }
}

void check_transformer(const Config& config, const Kwargs& kwargs) {
  const int dim = config.transformer_dim();
  if (dim % 4 != 0) {  // sines and cosines of two axes
    kwargs.fail("bottom_channels", "a multiple of 4 channels for the transformer",
                std::to_string(dim));
  }
  if (dim % config.t_heads != 0) {
    kwargs.fail("t_heads", "a divisor of the transformer's " + std::to_string(dim) + " channels",
                std::to_string(config.t_heads));
  }
  if (dim / config.t_heads % 2 != 0 || dim / config.t_heads > engine::kMostHeadDim) {
    kwargs.fail("t_heads",
                "attention heads of an even size up to " + std::to_string(engine::kMostHeadDim),
                std::to_string(config.t_heads) + " of " + std::to_string(dim / config.t_heads));
  }
  if (float(dim) * config.t_hidden_scale < 1) kwargs.fail("t_hidden_scale", "a hidden layer");
}

/// Arguments that Config doesn't hold. Those that aren't here change nothing of what the network
/// computes: initial values, training, Wiener filters (not used with complex numbers as channels),
/// the sparse and other embeddings' options, time_stride (of merged branches).
void check_fixed(const Config& config, const Kwargs& kwargs) {
  kwargs.must_be("cac", true, true);
  kwargs.must_be("rewrite", true, true);
  kwargs.must_be_false("multi_freqs");
  if (const json* time = kwargs.given("channels_time"); time && *time != json(config.channels)) {
    kwargs.must_be_false("channels_time");
  }
  kwargs.must_be("context", 1, 1);
  kwargs.must_be("context_enc", 0, 0);
  kwargs.must_be("dconv_mode", 3, 1);
  if (const int starts = kwargs.whole("norm_starts", 4, -1000, 1000); starts < config.depth) {
    kwargs.fail("norm_starts", "at least the depth, " + std::to_string(config.depth),
                std::to_string(starts));
  }
  kwargs.must_be("t_emb", "sin", "sin");
  kwargs.must_be_false("t_sin_random_shift");
  kwargs.must_be("t_norm_in", true, true);
  kwargs.must_be_false("t_group_norm");
  kwargs.must_be("t_norm_first", true, true);
  kwargs.must_be("t_norm_out", true, true);
  kwargs.must_be("t_layer_scale", true, true);
  kwargs.must_be("t_gelu", true, true);
  kwargs.must_be_false("t_sparse_self_attn");
  kwargs.must_be_false("t_sparse_cross_attn");
  kwargs.must_be_false("t_cross_first");
  kwargs.must_be("use_train_segment", true, true);
}

}  // namespace

Config parse_config(const json& description, const std::string& label) {
  expect_if_there(description, "model_type", "htdemucs", label);
  const auto klass = description.find("klass");
  if (klass == description.end() || *klass != kModelClass) {
    fail_key(label, "klass", kModelClass, klass == description.end() ? "none" : describe(*klass));
  }
  if (const json* args = list_of(description, "args", label); args && !args->empty()) {
    fail_key(label, "args", "none, all arguments by their names",
             std::to_string(args->size()) + " of them");
  }
  const auto found = description.find("kwargs");
  if (found == description.end() || !found->is_object()) {
    fail_key(label, "kwargs", "an object", found == description.end() ? "none" : describe(*found));
  }
  const Kwargs kwargs(*found, label);
  const json* embedding = kwargs.given("freq_emb");
  const json* bottom = kwargs.given("bottom_channels");
  Config config;
  config.sources = sources_of(kwargs);
  config.audio_channels = kwargs.whole("audio_channels", 2, 1, 8);
  config.samplerate = kwargs.whole("samplerate", 44100, 1000, 384'000);
  config.channels = kwargs.whole("channels", 48, 1, 1024);
  config.growth = kwargs.whole("growth", 2, 1, 4);
  config.nfft = kwargs.whole("nfft", 4096, 64, 65536);
  config.depth = kwargs.whole("depth", 4, 1, 8);
  config.kernel_size = kwargs.whole("kernel_size", 8, 4, 32);
  config.stride = kwargs.whole("stride", 4, 2, 16);
  config.freq_emb =
      embedding && is_false(*embedding) ? 0 : float(kwargs.number("freq_emb", 0.2, -1e3, 1e3));
  config.emb_scale = float(kwargs.number("emb_scale", 10, 1e-6, 1e6));
  config.dconv_depth = kwargs.whole("dconv_depth", 2, 1, 8);
  config.dconv_comp = kwargs.whole("dconv_comp", 8, 1, 1024);
  config.bottom_channels =
      bottom && is_false(*bottom) ? 0 : kwargs.whole("bottom_channels", 0, 0, 8192);
  config.t_layers = kwargs.whole("t_layers", 5, 1, 64);
  config.t_heads = kwargs.whole("t_heads", 8, 1, 64);
  config.t_hidden_scale = float(kwargs.number("t_hidden_scale", 4, 1e-3, 16));
  config.t_max_period = float(kwargs.number("t_max_period", 10000, 1, 1e9));
  config.t_weight_pos_embed = float(kwargs.number("t_weight_pos_embed", 1, -1e3, 1e3));
  read_segment(description, kwargs, label, config);
  check_layers(config, kwargs);
  check_transformer(config, kwargs);
  check_fixed(config, kwargs);
  return config;
}

}  // namespace runnel::models::htdemucs
