// One run of a network of any configuration, with random weights: what property tests and fuzzers
// put their configurations through.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "models/htdemucs/network.h"
#include "models/htdemucs/tensor_names.h"
#include "models/moonshine/network.h"
#include "models/moonshine/tensor_names.h"
#include "models/random_source.h"
#include "models/whisper/network.h"
#include "models/whisper/tensor_names.h"

namespace runnel::models::testing {

/// Norms near 1, so that activations keep their scale; the rest is left to chance.
inline bool fill_norms(std::string_view tensor, const engine::Shape& shape, std::int64_t,
                       std::span<float> out) {
  if (shape.size() != 1 || !(tensor.ends_with(".weight") || tensor.ends_with(".scale"))) {
    return false;
  }
  std::fill(out.begin(), out.end(), 1.0f);
  return true;
}

/// Where a network's tensors come from.
using MakeTensors = std::function<std::unique_ptr<const TensorSource>(const TensorShapes&)>;

inline std::unique_ptr<const TensorSource> random_tensors(const TensorShapes& shapes) {
  return std::make_unique<RandomSource>("random", shapes, fill_norms);
}

inline double elements_of(const TensorShapes& shapes) {
  double total = 0;
  for (const auto& [name, shape] : shapes) total += double(engine::elements(shape));
  return total;
}

inline bool all_finite(std::span<const float> values) {
  return std::ranges::all_of(values, [](float x) { return std::isfinite(x); });
}

/// Some signal that is never twice the same.
inline std::vector<float> wave(std::size_t count) {
  std::vector<float> x(count);
  for (std::size_t i = 0; i < count; ++i) {
    x[i] = 0.3f * std::sin(0.31f * float(i)) + 0.2f * std::sin(0.0017f * float(i) * float(i % 97));
  }
  return x;
}

// ---- HTDemucs ----

/// Multiply-adds of a segment, roughly and rather too many.
inline double work_of(const htdemucs::Config& c) {
  const double samples = c.segment_samples(), frames = 4 * samples / c.nfft + 1;
  const double rows = frames * c.nfft / 2 / c.stride + samples / c.stride;
  const double shrunk = std::pow(double(c.stride), c.depth);
  const double tokens = frames * c.nfft / 2 / shrunk + samples / shrunk + 2;
  return elements_of(htdemucs::tensor_shapes(c)) * (rows + c.nfft) +
         tokens * tokens * c.transformer_dim() * c.t_layers;
}

/// Stems [sources · channels, samples] of one segment.
inline std::vector<float> run_htdemucs(const htdemucs::Config& c,
                                       const engine::ComputeConfig& compute,
                                       const MakeTensors& tensors = random_tensors) {
  htdemucs::Bag bag;
  bag.weights.emplace_back(c.sources.size(), 1.0f);
  bag.models.push_back(
      {.config = c, .tensors = tensors(htdemucs::tensor_shapes(c)), .label = "random"});
  htdemucs::Network network(bag, compute);
  const int n = network.samples(), channels = c.audio_channels;
  const int rows = channels * int(c.sources.size());
  const std::vector<float> mix = wave(std::size_t(channels) * std::size_t(n));
  std::vector<float> out(std::size_t(rows) * std::size_t(n), NAN);
  network.run({mix.data(), channels, n, n}, ~StemSet(0), {out.data(), rows, n, n});
  return out;
}

// ---- Whisper ----

inline double work_of(const whisper::Config& c) {
  const double embedding = double(c.vocab_size) * c.dim;  // of few rows alone
  const double window = (elements_of(whisper::tensor_shapes(c)) - embedding) * 1500 +
                        1500.0 * 1500 * c.dim * c.encoder_layers;
  // The rows after a chunk are made for each.
  const double often = c.streaming() ? 1 + double(c.stream.right) / c.stream.chunk : 1;
  return window * often + embedding * 8;
}

inline std::shared_ptr<const whisper::Model> whisper_model(
    const whisper::Config& c, const engine::ComputeConfig& compute,
    const MakeTensors& tensors = random_tensors) {
  whisper::Checkpoint checkpoint;
  checkpoint.label = "random";
  checkpoint.config = c;
  checkpoint.generation.alignment_heads = {{c.decoder_layers - 1, c.decoder_heads - 1}};
  checkpoint.tensors = tensors(whisper::tensor_shapes(c));
  return std::make_shared<const whisper::Model>(std::move(checkpoint), compute);
}

/// Encoder rows, then the last token's logits and its cross-attention where `tokens` tokens are the
/// start, the first `together` of them in one go.
inline std::vector<float> run_whisper(const std::shared_ptr<const whisper::Model>& model,
                                      int tokens, int together) {
  const whisper::Config& c = model->config();
  whisper::Session session(model, 2);
  session.keep_alignment(true);
  const std::vector<float> mel = wave(3000 * std::size_t(c.mel_bins));
  session.encode({mel.data(), 3000, c.mel_bins, c.mel_bins});
  std::vector<float> out;
  const auto keep = [&out](MatrixView<const float> rows) {
    for (int r = 0; r < rows.rows; ++r) {
      out.insert(out.end(), rows.row(r).begin(), rows.row(r).end());
    }
  };
  keep(session.encoder_rows());
  std::vector<int> start;
  for (int i = 0; i < tokens; ++i) start.push_back(i * 7919 % c.vocab_size);
  MatrixView<const float> logits =
      session.prefill(std::span(start).first(std::size_t(together)), together - 1);
  for (int i = together; i < tokens; ++i) {
    const whisper::Step step[] = {{0, start[std::size_t(i)]}};
    logits = session.step(step);
  }
  keep(logits);
  keep(session.alignment(together == tokens ? tokens - 1 : 0));
  return out;
}

// ---- Moonshine ----

inline double work_of(const moonshine::Config& c) {
  double seen = 0;
  for (const auto& window : c.encoder.windows) seen += window.left + window.right + 1;
  return elements_of(moonshine::tensor_shapes(c)) * 50 + seen * c.encoder.heads * 6400.0 +
         double(c.decoder.layers) * c.decoder.heads * c.decoder.max_tokens * 64;
}

struct Heard {
  std::vector<float> rows;
  std::vector<int> tokens;
  std::vector<float> logprobs, frames;
};

/// A second of audio in pieces of up to `chunk` samples, then up to `limit` tokens.
inline Heard run_moonshine(const moonshine::Config& c, const engine::ComputeConfig& compute,
                           moonshine::WindowSemantics windows, int chunk, int limit,
                           const MakeTensors& tensors = random_tensors) {
  moonshine::Checkpoint checkpoint;
  checkpoint.label = "random";
  checkpoint.config = c;
  checkpoint.tensors = tensors(moonshine::tensor_shapes(c));
  const double seconds = std::min(1.0, c.encoder.max_frames / moonshine::Config::kFramesPerSecond);
  moonshine::Stream stream(
      std::make_shared<const moonshine::Model>(std::move(checkpoint), compute, windows),
      {.max_seconds = seconds, .max_tokens = c.decoder.max_tokens, .max_chunk = chunk});
  Heard heard;
  const auto keep = [&] {
    const MatrixView<const float> rows = stream.new_rows();
    for (int r = 0; r < rows.rows; ++r) {
      heard.rows.insert(heard.rows.end(), rows.row(r).begin(), rows.row(r).end());
    }
  };
  const std::vector<float> audio = wave(16000);
  for (std::size_t at = 0; at < audio.size();) {
    const std::size_t count = std::min(audio.size() - at, std::size_t(chunk));
    const int taken = stream.push(std::span(audio).subspan(at, count));
    keep();
    if (taken == 0) break;
    at += std::size_t(taken);
  }
  stream.flush();
  keep();
  const moonshine::Pass pass = stream.decode({}, 0, std::min(limit, c.decoder.max_tokens - 1));
  heard.tokens.assign(pass.tokens.begin(), pass.tokens.end());
  heard.logprobs.assign(pass.logprobs.begin(), pass.logprobs.end());
  heard.frames.assign(pass.frames.begin(), pass.frames.end());
  return heard;
}

}  // namespace runnel::models::testing
