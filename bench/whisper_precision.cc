// How far Whisper in reduced precision is from float32, on one window of audio:
//
//   whisper_precision MODEL_FOLDER|FILE.bin|random:NAME recording.wav [tokens]
//
// Greedy tokens of float32 are given to every precision, and each step's logits compared.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "dsp/log_mel.h"
#include "models/whisper/network.h"
#include "rt/source.h"

namespace {

using namespace runnel;
using namespace runnel::models::whisper;

std::vector<float> window_of(const std::string& path, int bins) {
  const auto source = rt::open_source(path);
  if (source->rate_hz() != kSampleRateHz || source->channels() != 1) {
    throw std::runtime_error(path + ": expected 16 kHz mono");
  }
  std::vector<float> samples(30 * kSampleRateHz, 0.0f);
  int filled = 0;
  for (int n; filled < int(samples.size()) &&
              (n = source->read(samples.data() + filled, int(samples.size()) - filled)) > 0;) {
    filled += n;
  }
  dsp::LogMel mel(bins, int(samples.size()));
  const int count = int(samples.size());
  mel.push({{samples.data(), 1, count, count}, {0, kSampleRateHz}});
  mel.flush();
  std::vector<float> frames;
  for (dsp::MelFrames some; mel.pop(some);) {
    for (int t = 0; t < some.log_mel.rows; ++t) {
      const auto row = some.log_mel.row(t);
      frames.insert(frames.end(), row.begin(), row.end());
    }
  }
  std::vector<float> window(std::size_t(kWindowFrames) * std::size_t(bins));
  dsp::whisper_window({frames.data(), int(frames.size()) / bins, bins, bins},
                      {window.data(), kWindowFrames, bins, bins});
  return window;
}

struct Run {
  std::vector<float> rows;                 // of the encoder
  std::vector<std::vector<float>> logits;  // of each step
  std::vector<int> tokens;
};

/// Greedy, or along `tokens` where they are given.
Run run(const std::string& name, engine::Precision precision, const std::string& recording,
        int steps, const std::vector<int>& tokens) {
  const auto model = std::make_shared<Model>(
      name.starts_with("random:") ? random_checkpoint(name.substr(7)) : load_checkpoint(name),
      engine::ComputeConfig{.encoder = precision, .decoder = precision});
  const int bins = model->config().mel_bins;
  const std::vector<float> mel = window_of(recording, bins);
  Session session(model);
  session.encode({mel.data(), kWindowFrames, bins, bins});
  Run result;
  for (int r = 0; r < session.encoder_rows().rows; ++r) {
    const auto row = session.encoder_rows().row(r);
    result.rows.insert(result.rows.end(), row.begin(), row.end());
  }
  const SpecialTokens& special = model->tokenizer().special();
  std::vector<int> prompt = {special.start_of_transcript};
  if (model->config().multilingual()) {
    prompt.insert(prompt.end(), {special.first_language, special.transcribe});
  }
  prompt.push_back(special.no_timestamps);
  auto logits = session.prefill(prompt, int(prompt.size()) - 1);
  for (int i = 0; i < steps; ++i) {
    const auto row = logits.row(0);
    result.logits.emplace_back(row.begin(), row.end());
    const int best =
        int(std::max_element(row.begin(), row.begin() + special.end_of_text) - row.begin());
    result.tokens.push_back(tokens.empty() ? best : tokens[std::size_t(i)]);
    const Step step{.parent = 0, .token = result.tokens.back()};
    logits = session.step({&step, 1});
  }
  return result;
}

double rms_difference(const std::vector<float>& a, const std::vector<float>& b, double* largest) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double e = double(a[i]) - double(b[i]);
    sum += e * e;
    if (largest) *largest = std::max(*largest, std::abs(e));
  }
  return std::sqrt(sum / double(a.size()));
}

int compare(const std::string& name, const std::string& recording, int steps) {
  using engine::Precision;
  const Run exact = run(name, Precision::kFloat32, recording, steps, {});
  std::vector<float> zeros(exact.rows.size(), 0.0f);
  const double rows_rms = rms_difference(exact.rows, zeros, nullptr);
  std::printf("%-10s %-22s %-22s %s\n", "precision", "encoder error / RMS", "logit error: RMS, max",
              "same best token");
  for (const Precision precision : {Precision::kFloat16, Precision::kBFloat16, Precision::kInt8}) {
    const Run other = run(name, precision, recording, steps, exact.tokens);
    double sum = 0, largest = 0;
    int same = 0;
    for (int i = 0; i < steps; ++i) {
      const auto& a = exact.logits[std::size_t(i)];
      const auto& b = other.logits[std::size_t(i)];
      const double rms = rms_difference(a, b, &largest);
      sum += rms * rms;
      same += std::max_element(a.begin(), a.end()) - a.begin() ==
              std::max_element(b.begin(), b.end()) - b.begin();
    }
    std::printf("%-10s %-22.2e %-10.2e %-11.2e %d of %d\n",
                std::string(engine::name(precision)).c_str(),
                rms_difference(exact.rows, other.rows, nullptr) / rows_rms, std::sqrt(sum / steps),
                largest, same, steps);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3 || argc > 4) {
    std::fprintf(stderr, "usage: whisper_precision MODEL|random:NAME RECORDING.wav [TOKENS]\n");
    return 2;
  }
  try {
    return compare(argv[1], argv[2], argc > 3 ? std::stoi(argv[3]) : 100);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "whisper_precision: %s\n", error.what());
    return 1;
  }
}
