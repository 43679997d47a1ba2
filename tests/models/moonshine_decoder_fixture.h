// The reference's small Moonshine models of the goldens, as the decoder takes them.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/weights.h"
#include "models/moonshine/decoder.h"
#include "models/safetensors_source.h"

namespace runnel::models::moonshine::testing {

inline nlohmann::json read_json(const std::filesystem::path& path) {
  std::ifstream file(path);
  return nlohmann::json::parse(file);
}

/// What the decoder needs of a case, without the encoder's part.
inline Checkpoint decoder_checkpoint(const std::filesystem::path& folder) {
  const nlohmann::json json = read_json(folder / "config.json");
  const nlohmann::json& encoder = json["encoder_config"];
  Checkpoint checkpoint;
  checkpoint.label = folder.string();
  checkpoint.config.encoder = {.dim = encoder["hidden_size"],
                               .heads = encoder["num_attention_heads"],
                               .head_dim = encoder["head_dim"],
                               .ffn = encoder["intermediate_size"],
                               .windows = {},
                               .max_frames = json["max_position_embeddings"]};
  checkpoint.config.decoder = {.dim = json["hidden_size"],
                               .layers = json["num_hidden_layers"],
                               .heads = json["num_attention_heads"],
                               .head_dim = json["head_dim"],
                               .ffn = json["intermediate_size"],
                               .max_tokens = json["max_position_embeddings"],
                               .tied = json["tie_word_embeddings"]};
  checkpoint.config.vocab_size = json["vocab_size"];
  checkpoint.tokenizer = std::make_shared<const Tokenizer>(
      Tokenizer::from_folder(folder, checkpoint.config.vocab_size));
  checkpoint.tensors = std::make_unique<SafetensorsSource>(engine::Weights::open(folder),
                                                           "model.decoder.norm.weight");
  return checkpoint;
}

/// Greedy decoding of one input as the reference did it.
struct ReferenceRun {
  std::string name;            // "5s.hf"
  std::vector<float> encoder;  // [frames, encoder dim]
  int frames = 0;
  std::vector<int> tokens;  // with the end token, if it came
  std::vector<float> logprobs, margins;
  std::vector<float> logits;  // [tokens, vocab]; of the hf runs alone
  std::string text;

  std::vector<int> text_tokens() const {
    std::vector<int> text = tokens;
    if (!text.empty() && text.back() == 2) text.pop_back();
    return text;
  }
  bool ended() const { return !tokens.empty() && tokens.back() == 2; }
};

inline std::vector<ReferenceRun> reference_runs(const std::filesystem::path& folder) {
  const nlohmann::json json = read_json(folder / "expected.json");
  const engine::Weights file = engine::Weights::open(folder / "expected.safetensors");
  std::vector<ReferenceRun> runs;
  for (const auto& [name, run] : json["runs"].items()) {
    ReferenceRun r;
    r.name = name;
    const engine::Shape shape = file.tensors().at(name + ".encoder").shape;
    r.frames = int(shape[0]);
    r.encoder = file.floats(name + ".encoder", shape);
    r.tokens = run["tokens"].get<std::vector<int>>();
    r.logprobs = run["logprobs"].get<std::vector<float>>();
    r.margins = run["margins"].get<std::vector<float>>();
    r.text = run["text"];
    if (file.contains(name + ".logits")) {
      r.logits = file.floats(name + ".logits", file.tensors().at(name + ".logits").shape);
    }
    // A frame that is not whole doesn't count.
    r.frames = std::min(r.frames, run["valid_encoder_frames"].get<int>());
    runs.push_back(std::move(r));
  }
  return runs;
}

/// A model's weights and threads, and streams on them.
class DecoderModel {
 public:
  DecoderModel(const std::filesystem::path& folder, const engine::ComputeConfig& compute,
               engine::Isa isa = engine::chosen_isa())
      : checkpoint(decoder_checkpoint(folder)),
        compute(compute),
        executor(isa, compute.threads,
                 Decoder::scratch(checkpoint.config, checkpoint.config.encoder.max_frames)),
        weights(pack_decoder(checkpoint, compute)) {}

  std::unique_ptr<Decoder> stream(int max_frames = 400, int max_tokens = 64, int beams = 1) {
    return std::make_unique<Decoder>(checkpoint.config, weights, compute, executor, max_frames,
                                     max_tokens, beams);
  }
  /// A stream that has heard the run.
  std::unique_ptr<Decoder> heard(const ReferenceRun& run, int beams = 1) {
    auto decoder = stream(400, 64, beams);
    decoder->append(rows(run, 0, run.frames));
    return decoder;
  }
  MatrixView<const float> rows(const ReferenceRun& run, int first, int count) const {
    const int dim = checkpoint.config.encoder.dim;
    return {run.encoder.data() + std::ptrdiff_t(first) * dim, count, dim, dim};
  }

  const Checkpoint checkpoint;
  const engine::ComputeConfig compute;
  engine::Executor executor;
  const DecoderWeights weights;
};

/// Changes nothing; keeps the logits that it saw [position][vocab].
class Listener final : public TokenBias {
 public:
  void apply(std::span<const int> tokens, std::span<float> logits) const noexcept override {
    seen.resize(std::max(seen.size(), tokens.size() + 1));
    seen[tokens.size()].assign(logits.begin(), logits.end());
  }
  mutable std::vector<std::vector<float>> seen;
};

}  // namespace runnel::models::moonshine::testing
