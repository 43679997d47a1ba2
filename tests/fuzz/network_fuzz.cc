#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string_view>

#include "models/config_json.h"
#include "models/htdemucs/model_kwargs.h"
#include "models/moonshine/config_files.h"
#include "models/safetensors_source.h"
#include "models/whisper/config_files.h"
#include "tests/models/network_runs.h"

namespace {

using namespace runnel::models;
using runnel::engine::Precision;

constexpr double kMostWork = 3e7;    // multiply-adds
constexpr double kMostValues = 2e6;  // of what goes in and comes out

/// A safetensors file of random tensors in which the input's tail has changed some bytes: three of
/// place, one of value each. The source refers to it.
struct Tensors {
  std::string_view tail;
  std::vector<std::byte> file;

  bool changed() const { return tail.size() >= 4; }

  std::unique_ptr<const TensorSource> operator()(const TensorShapes& shapes) {
    nlohmann::json header;
    std::vector<float> values;
    const auto random = testing::random_tensors(shapes);
    for (const auto& [name, shape] : shapes) {
      const std::size_t begin = values.size();
      values.resize(begin + std::size_t(runnel::engine::elements(shape)));
      random->read(name, 0, std::span(values).subspan(begin));
      header[name] = {
          {"dtype", "F32"}, {"shape", shape}, {"data_offsets", {4 * begin, 4 * values.size()}}};
    }
    const std::string text = header.dump();
    const std::uint64_t size = text.size();
    file.resize(8 + text.size() + 4 * values.size());
    std::memcpy(file.data(), &size, 8);
    std::memcpy(file.data() + 8, text.data(), text.size());
    std::memcpy(file.data() + 8 + text.size(), values.data(), 4 * values.size());
    for (std::size_t i = 0; i + 4 <= tail.size(); i += 4) {
      std::uint32_t change;
      std::memcpy(&change, tail.data() + i, 4);
      file[(change >> 8) % file.size()] = std::byte(change & 0xff);
    }
    auto source = std::make_unique<SafetensorsSource>(
        runnel::engine::Weights::borrow(file, "model.safetensors"), shapes.begin()->first);
    for (const auto& [name, shape] : shapes) source->expect(name, shape);
    return source;
  }
};

/// Runs one of the models, if `text` is its configuration and it isn't too large for a fuzzer.
template <class Run>
void attempt(std::string_view tail, const Run& run) {
  try {
    Tensors tensors{tail, {}};
    const std::vector<float> out = run(std::ref(tensors));
    // Weights that are finite may still be large enough for a result that isn't.
    if (!tensors.changed() && !testing::all_finite(out)) std::abort();
  } catch (const std::runtime_error&) {
  } catch (const std::invalid_argument&) {
  }
}

void run_all(std::string_view text, std::string_view tail, Precision precision) {
  const runnel::engine::ComputeConfig compute{
      .encoder = precision, .decoder = precision, .threads = 1};
  attempt(tail, [&](const testing::MakeTensors& tensors) -> std::vector<float> {
    const auto c = htdemucs::parse_config(parse_object(text, "config.json"), "config.json");
    const double values =
        double(c.sources.size()) * c.audio_channels * (c.segment_samples() + c.nfft);
    if (testing::work_of(c) > kMostWork || values > kMostValues) return {};
    return testing::run_htdemucs(c, compute, tensors);
  });
  attempt(tail, [&](const testing::MakeTensors& tensors) -> std::vector<float> {
    const auto c = whisper::parse_config(text, "config.json");
    if (testing::work_of(c) > 3 * kMostWork) return {};  // its window is 30 s
    const int tokens = std::min(c.text_ctx, 12);
    return testing::run_whisper(testing::whisper_model(c, compute, tensors), tokens, tokens - 3);
  });
  attempt(tail, [&](const testing::MakeTensors& tensors) -> std::vector<float> {
    const auto c = moonshine::parse_config(text, "config.json");
    if (testing::work_of(c) > kMostWork) return {};
    return testing::run_moonshine(c, compute, moonshine::WindowSemantics::kStrict, 1280, 12,
                                  tensors)
        .rows;
  });
}

}  // namespace

/// config.json up to the first zero byte, then changes to the weights: what a model loads, and one
/// run of it.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view all(reinterpret_cast<const char*>(data), size);
  const std::string_view text = all.substr(0, all.find('\0'));
  const std::string_view tail = all.substr(std::min(all.size(), text.size() + 1));
  run_all(text, tail, Precision::kFloat32);
  const bool htdemucs = text.find("klass") != text.npos;
  run_all(text, tail, htdemucs ? Precision::kBFloat16 : Precision::kInt8);
  return 0;
}
