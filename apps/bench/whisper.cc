// `runnel bench whisper`: a model part by part and end to end, on a window of 30 s.

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>

#include "apps/bench/bench.h"
#include "apps/bench/op.h"
#include "apps/memory_use.h"
#include "apps/report.h"
#include "apps/subcommand.h"
#include "apps/synthetic_source.h"
#include "apps/text.h"
#include "apps/version.h"
#include "dsp/log_mel.h"
#include "engine/denormals.h"
#include "engine/kernels/matrix.h"
#include "engine/kernels/rows.h"
#include "models/whisper/checkpoint.h"
#include "models/whisper/network.h"

namespace runnel::apps {
namespace {

namespace whisper = models::whisper;
using engine::Precision;

constexpr int kBeam = 5;
constexpr int kLongPrompt = 224;  // as much as Whisper keeps of what was said before

/// Operations and bytes by the shapes; a multiply-add is two operations.
struct Cost {
  Cost(const whisper::Config& config, const engine::ComputeConfig& compute)
      : c(config), decoder(compute.decoder) {}

  double encoder() const {
    const double n = c.audio_ctx, d = c.dim;
    const double stem = 2 * 2 * n * 3 * c.mel_bins * d + 2 * n * 3 * d * d;
    return stem + c.encoder_layers * (2 * n * (4 * d * d + 2 * d * c.encoder_ffn) + 4 * n * n * d);
  }
  double cross_kv() const { return 4.0 * c.decoder_layers * c.audio_ctx * double(c.dim) * c.dim; }
  /// `logits`: rows whose logits are wanted.
  double tokens(int rows, double position, int logits) const {
    return 2 * rows * layer_weights() + 2.0 * logits * c.vocab_size * c.dim +
           4.0 * rows * c.decoder_layers * c.dim * (c.audio_ctx + position);
  }
  /// Weights and logits once, cross-attention once, the past of each row.
  double bytes(int rows, double position) const {
    const double half = decoder == Precision::kFloat32 ? 4 : 2;
    const double weight = decoder == Precision::kFloat32 ? 4 : decoder == Precision::kInt8 ? 1 : 2;
    const double row_sums =  // int8: a scale and a sum of each output
        decoder == Precision::kInt8
            ? 8 * (c.decoder_layers * (7.0 * c.dim + c.decoder_ffn) + c.vocab_size)
            : 0;
    return weight * (layer_weights() + double(c.vocab_size) * c.dim) + row_sums +
           2 * half * c.decoder_layers * c.dim * (c.audio_ctx + rows * position);
  }

 private:
  double layer_weights() const {
    return c.decoder_layers * (6.0 * c.dim * c.dim + 2.0 * c.dim * c.decoder_ffn);
  }

  const whisper::Config& c;
  const Precision decoder;
};

Bound bound_of(Precision weights) {
  if (engine::chosen_isa() != engine::Isa::kAmx) return Bound::kMultiplyAdds;
  return weights == Precision::kBFloat16 ? Bound::kTilesBf16
         : weights == Precision::kInt8   ? Bound::kTilesInt8
                                         : Bound::kMultiplyAdds;
}

/// A loaded model, a session, and audio to run on.
class WhisperBench {
 public:
  explicit WhisperBench(const WhisperBenchOptions& options)
      : options_(options), load_s_(time_once([&] { load(); })), session_(model_) {
    const whisper::Config& c = model_->config();
    if (options.tokens + 4 > c.text_ctx) {
      throw UsageError("bench whisper: --tokens: expected at most " +
                       std::to_string(c.text_ctx - 4) + " for this model, found " +
                       std::to_string(options.tokens));
    }
    SyntheticSource source(whisper::kSampleRateHz, 0.01 * window_frames());
    audio_.resize(std::size_t(source.frames()));
    source.read(audio_.data(), int(audio_.size()));
    window_.resize(std::size_t(window_frames()) * std::size_t(c.mel_bins));
    frames_.resize(window_.size());
    mel_ = std::make_unique<dsp::LogMel>(c.mel_bins, int(audio_.size()));
    const whisper::SpecialTokens& special = model_->tokenizer().special();
    prompt_ = {special.start_of_transcript, special.first_language, special.transcribe,
               special.no_timestamps};
  }

  nlohmann::json run() {
    end_to_end();  // everything has run once: its pages are there
    const std::int64_t peak = peak_resident_bytes();
    engine::ThreadPool pool(model_->threads());
    const Ceilings before = measure_ceilings(pool, engine::chosen_isa());
    measure_parts();
    const nlohmann::json memory = measure_memory(peak);
    const Ceilings ceilings = larger(before, measure_ceilings(pool, engine::chosen_isa()));
    nlohmann::json parts = nlohmann::json::array();
    for (const Op& part : parts_) parts.push_back(op_json(part, ceilings));
    return {{"versions", version_json()},
            {"bench", "whisper"},
            {"model", model_->label()},
            {"random_weights", model_->random_weights()},
            {"isa", std::string(name(engine::chosen_isa()))},
            {"threads", model_->threads()},
            {"encoder_precision", std::string(name(model_->compute().encoder))},
            {"decoder_precision", std::string(name(model_->compute().decoder))},
            {"tokens", options_.tokens},
            {"load_ms", 1e3 * load_s_},
            {"ceilings", ceilings_json(ceilings)},
            {"last_cache_bytes", last_cache_bytes()},
            {"parts", parts},
            {"memory", memory}};
  }

 private:
  int window_frames() const { return 2 * model_->config().audio_ctx; }
  MatrixView<const float> window() const {
    return {window_.data(), window_frames(), model_->config().mel_bins, model_->config().mel_bins};
  }

  void load() {
    engine::ComputeConfig compute = engine::ComputeConfig::of(options_.precision);
    compute.threads = options_.threads;
    model_ = std::make_shared<whisper::Model>(
        options_.random_weights.empty() ? whisper::load_checkpoint(options_.model)
                                        : whisper::random_checkpoint(options_.random_weights),
        compute);
  }

  /// Audio to a scaled window, the part after `samples` silence.
  void log_mel(int samples) {
    const int bins = model_->config().mel_bins;
    mel_->reset();
    mel_->push({{audio_.data(), 1, samples, samples}, {0, whisper::kSampleRateHz}});
    int rows = pop_mel(0);
    mel_->flush();
    rows = pop_mel(rows);
    whisper::window_for(model_->config(), {frames_.data(), rows, bins, bins},
                        {window_.data(), window_frames(), bins, bins});
  }

  int pop_mel(int rows) {
    dsp::MelFrames out;
    const auto bins = std::size_t(model_->config().mel_bins);
    while (mel_->pop(out)) {
      for (int t = 0; t < out.log_mel.rows && rows < window_frames(); ++t, ++rows) {
        std::copy_n(out.log_mel.data + t * out.log_mel.stride, bins,
                    frames_.data() + std::size_t(rows) * bins);
      }
    }
    return rows;
  }

  int best(MatrixView<const float> logits) const {
    float log_sum = 0;
    return rows_.argmax(logits.data, logits.cols, &log_sum);
  }

  /// Greedy from the prompt on; the seconds of each step go to `seconds`.
  void decode(std::vector<double>* seconds) {
    int token = best(session_.prefill(prompt_, int(prompt_.size()) - 1));
    for (int i = 0; i < options_.tokens; ++i) {
      const whisper::Step step{.parent = 0, .token = token};
      const double s = time_once([&] { token = best(session_.step({&step, 1})); });
      if (seconds) seconds->push_back(s);
    }
  }

  void end_to_end() {
    log_mel(int(audio_.size()));
    session_.encode(window());
    decode(nullptr);
  }

  void measure_parts() {
    const Cost cost(model_->config(), model_->compute());
    const Precision encoder = model_->compute().encoder;
    for (const int frames : {window_frames() / 2, window_frames()}) {
      add({.name = "log-mel of " + fixed(0.01 * frames, 0) + " s",
           .times = measure_rounds(options_.rounds, [&] { log_mel(frames * whisper::kHop); })});
    }
    measure_encode(cost, bound_of(encoder));
    if (model_->config().streaming()) measure_chunks();
    for (const int n : {int(prompt_.size()), std::min(kLongPrompt, model_->config().text_ctx)}) {
      const bool few = n <= engine::kFewRows;
      add({.name = "prefill of " + std::to_string(n),
           .times = time_prefill(n),
           .operations = cost.tokens(n, n / 2.0, 1),
           .bytes = cost.bytes(1, n),
           .bound = few ? Bound::kMemory : bound_of(model_->compute().decoder)});
    }
    std::vector<double> seconds;
    for (int round = 0; round < options_.rounds; ++round) decode(&seconds);
    const double position = double(prompt_.size()) + options_.tokens / 2.0;
    add({.name = "one token",
         .times = times_of(std::move(seconds)),
         .operations = cost.tokens(1, position, 1),
         .bytes = cost.bytes(1, position),
         .bound = Bound::kMemory});
    add({.name = "one step of " + std::to_string(kBeam) + " hypotheses",
         .times = time_beam(),
         .operations = cost.tokens(kBeam, position, kBeam),
         .bytes = cost.bytes(kBeam, position),
         .bound = Bound::kMemory});
    add({.name = fixed(0.01 * window_frames(), 0) + " s end to end, " +
                 std::to_string(options_.tokens) + " tokens",
         .times = measure_rounds(options_.rounds, [&] { end_to_end(); })});
  }

  void measure_encode(const Cost& cost, Bound bound) {
    std::vector<double> encoder, cross_kv;
    for (int round = 0; round < options_.rounds; ++round) {
      session_.encode(window());
      encoder.push_back(1e-3 * session_.last_encode().encoder_ms);
      cross_kv.push_back(1e-3 * session_.last_encode().cross_kv_ms);
    }
    add({.name = "encoder",
         .times = times_of(std::move(encoder)),
         .operations = cost.encoder(),
         .bound = bound});
    add({.name = "cross-attention keys and values",
         .times = times_of(std::move(cross_kv)),
         .operations = cost.cross_kv(),
         .bound = bound});
  }

  /// As a stream has them: one after the other, behind as many rows as a chunk sees.
  void measure_chunks() {
    const whisper::StreamingEncoder& stream = model_->config().stream;
    const MatrixView<const float> all = window();
    const int step = whisper::kFramesPerPosition * stream.chunk;
    const int warm = whisper::kFramesPerPosition * (stream.past + stream.chunk + stream.right) + 1;
    std::vector<double> encoder, cross_kv;
    for (int round = 0; round < options_.rounds; ++round) {
      session_.restart_audio();
      int at = std::min(warm, all.rows);
      session_.encode_more({all.data, at, all.cols, all.stride}, false);
      for (; at + step <= all.rows; at += step) {
        session_.encode_more({all.data + at * all.stride, step, all.cols, all.stride}, false);
        encoder.push_back(1e-3 * session_.last_encode().encoder_ms);
        cross_kv.push_back(1e-3 * session_.last_encode().cross_kv_ms);
      }
    }
    if (encoder.empty()) return;
    const std::string name = "chunk of " + fixed(0.01 * step, 2) + " s";
    add({.name = name + ", encoder", .times = times_of(std::move(encoder))});
    add({.name = name + ", cross-attention", .times = times_of(std::move(cross_kv))});
  }

  Times time_prefill(int n) {
    std::vector<int> tokens(std::size_t(n), 0);
    std::iota(tokens.begin(), tokens.end(), 1);
    return measure_rounds(options_.rounds, [&] { session_.prefill(tokens, n - 1); });
  }

  /// Hypotheses that go on from each other, as a beam's do.
  Times time_beam() {
    whisper::Session session(model_, kBeam);
    session.encode(window());
    std::vector<double> seconds;
    for (int round = 0; round < options_.rounds; ++round) {
      int token = best(session.prefill(prompt_, int(prompt_.size()) - 1));
      for (int i = 0; i < options_.tokens; ++i) {
        std::vector<whisper::Step> steps(kBeam);
        for (int h = 0; h < kBeam; ++h) {
          steps[std::size_t(h)] = {.parent = i == 0 ? 0 : (h + i) % kBeam,
                                   .token = (token + h) % model_->config().vocab_size};
        }
        seconds.push_back(time_once([&] { token = best(session.step(steps)); }));
      }
    }
    return times_of(std::move(seconds));
  }

  /// `peak`: of loading the model and one window end to end.
  nlohmann::json measure_memory(std::int64_t peak) {
    const std::int64_t before = resident_bytes();
    whisper::Session session(model_);
    session.encode(window());
    session.prefill(prompt_, 0);
    return {{"peak_bytes", peak},
            {"weight_bytes", model_->weight_bytes()},
            {"scratch_bytes", model_->scratch_bytes()},
            {"session_bytes", session.state_bytes()},
            {"session_resident_bytes", resident_bytes() - before}};
  }

  void add(Op part) { parts_.push_back(std::move(part)); }

  const WhisperBenchOptions& options_;
  std::shared_ptr<const whisper::Model> model_;
  const double load_s_;
  whisper::Session session_;
  const engine::RowKernels& rows_ = engine::row_kernels(engine::chosen_isa());
  std::vector<float> audio_;   // a window's
  std::vector<float> frames_;  // [frames, mel_bins]: log10 mel
  std::vector<float> window_;  // [frames, mel_bins]: scaled
  std::unique_ptr<dsp::LogMel> mel_;
  std::vector<int> prompt_;
  std::vector<Op> parts_;
};

std::string whisper_text(nlohmann::json report) {
  for (nlohmann::json& part : report["parts"]) {
    std::string& shape = part["shape"].get_ref<std::string&>();
    if (part.contains("gflop")) shape = fixed(part["gflop"], 2) + " GFLOP";
    if (part.contains("bound") && part["bound"] == "memory") {
      shape += ", " + fixed(1e-6 * part["bytes"].get<double>(), 1) + " MB";
    }
  }
  const nlohmann::json& memory = report["memory"];
  const auto mb = [&](const char* key) {
    return fixed(1e-6 * memory[key].get<double>(), 1) + " MB";
  };
  return report["model"].get<std::string>() +
         (report["random_weights"].get<bool>() ? " (RANDOM WEIGHTS, not trained: for speed only)"
                                               : "") +
         ", encoder " + report["encoder_precision"].get<std::string>() + ", decoder " +
         report["decoder_precision"].get<std::string>() + "\n" +
         std::to_string(report["threads"].get<int>()) + " threads, " +
         report["isa"].get<std::string>() + "; ceilings: " + ceilings_text(report["ceilings"]) +
         "\nloaded in " + fixed(report["load_ms"], 0) + " ms; last-level cache " +
         fixed(1e-6 * report["last_cache_bytes"].get<double>(), 0) +
         " MB: what it holds can exceed 100 % of memory\n" + ops_table(report["parts"]) +
         "memory: peak " + mb("peak_bytes") + " (load and one window), weights " +
         mb("weight_bytes") + ", shared scratch " + mb("scratch_bytes") +
         "; one more session: " + mb("session_bytes") + " of caches, " +
         mb("session_resident_bytes") + " measured\n";
}

}  // namespace

int run_whisper_bench(const WhisperBenchOptions& options) {
  if (options.model.empty() && options.random_weights.empty()) {
    throw UsageError("bench whisper: expected --model or --random-weights, found neither");
  }
  engine::flush_denormals();
  const nlohmann::json report = WhisperBench(options).run();
  print(options.json ? dump(report, 2) + "\n" : whisper_text(report));
  return 0;
}

}  // namespace runnel::apps
