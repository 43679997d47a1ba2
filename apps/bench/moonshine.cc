// `runnel bench moonshine`: a Moonshine Streaming model part by part, as live captions use it.

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/bench/bench.h"
#include "apps/bench/moonshine_cost.h"
#include "apps/bench/op.h"
#include "apps/memory_use.h"
#include "apps/report.h"
#include "apps/subcommand.h"
#include "apps/synthetic_source.h"
#include "apps/text.h"
#include "apps/version.h"
#include "engine/cores.h"
#include "engine/denormals.h"
#include "engine/thread_pool.h"
#include "models/catalog.h"
#include "models/moonshine/checkpoint.h"
#include "models/moonshine/decoder.h"
#include "models/moonshine/encoder_weights.h"
#include "models/moonshine/network.h"

namespace runnel::apps {
namespace {

namespace moonshine = models::moonshine;
using engine::Precision;

constexpr int kRateHz = moonshine::Config::kSampleRate;
constexpr int kPush = kRateHz * 80 / 1000;  // samples of 80 ms
constexpr int kFramesOfPush = 4;
constexpr int kLineSeconds = 10;
constexpr int kLineTokens = 25;
constexpr int kStepTokens = 20;  // beyond them, for the time of one

double bytes_of_weight(Precision precision) {
  return precision == Precision::kFloat32 ? 4 : precision == Precision::kInt8 ? 1 : 2;
}

std::string full_name(const std::string& name) {
  return name.find('-') == std::string::npos ? "moonshine-streaming-" + name : name;
}

moonshine::Checkpoint checkpoint_of(const MoonshineBenchOptions& options) {
  if (!options.random_weights.empty()) {
    return moonshine::random_checkpoint(full_name(options.random_weights));
  }
  return options.model.empty() ? models::load_embedded_transcriber()
                               : moonshine::load_checkpoint(options.model);
}

/// A loaded model on so many threads, a stream, and audio to run on.
class MoonshineBench {
 public:
  MoonshineBench(const MoonshineBenchOptions& options, int threads)
      : options_(options), compute_(engine::ComputeConfig::of(options.precision)) {
    compute_.threads = threads;
    load_s_ = time_once([&] {
      model_ = std::make_shared<const moonshine::Model>(checkpoint_of(options), compute_);
    });
    compute_ = model_->compute();
    stream_ = std::make_unique<moonshine::Stream>(model_, stream_options());
    SyntheticSource source(kRateHz, line_seconds());
    audio_.resize(std::size_t(source.frames()));
    source.read(audio_.data(), int(audio_.size()));
  }

  /// `first`: nothing else has used memory yet.
  nlohmann::json run(bool first) {
    hear_line();
    stream_->decode({}, 0, kLineTokens);
    const std::int64_t peak = first ? peak_resident_bytes() : 0;
    engine::ThreadPool pool(compute_.threads);
    const Ceilings before = measure_ceilings(pool, engine::chosen_isa());
    measure_pushes();
    measure_passes();
    const nlohmann::json work = operations();
    const nlohmann::json memory = measure_memory(peak);
    const Ceilings ceilings = larger(before, measure_ceilings(pool, engine::chosen_isa()));
    nlohmann::json parts = nlohmann::json::array();
    for (const Op& part : parts_) parts.push_back(op_json(part, ceilings));
    return {{"threads", compute_.threads},
            {"load_ms", 1e3 * load_s_},
            {"ceilings", ceilings_json(ceilings)},
            {"parts", parts},
            {"draft_tokens", draft_.size()},
            {"draft_given", given_},
            {"draft_confirmed", confirmed_},
            {"operations", work},
            {"memory", memory}};
  }

  nlohmann::json description() const {
    return {{"model", model_->label()},
            {"random_weights", model_->random_weights()},
            {"isa", std::string(name(engine::chosen_isa()))},
            {"encoder_precision", std::string(name(compute_.encoder))},
            {"decoder_precision", std::string(name(compute_.decoder))},
            {"latency_ms", 1e3 * model_->latency_samples() / kRateHz}};
  }

 private:
  static std::vector<int> tokens_of(const moonshine::Pass& pass) {
    return {pass.tokens.begin(), pass.tokens.end()};
  }
  double most_seconds() const {
    return model_->config().encoder.max_frames / moonshine::Config::kFramesPerSecond;
  }
  /// Ten, or what the model can hold.
  int line_seconds() const { return std::min(kLineSeconds, int(most_seconds())); }
  double line_frames() const { return line_seconds() * moonshine::Config::kFramesPerSecond; }
  moonshine::StreamOptions stream_options() const {
    moonshine::StreamOptions stream;
    stream.beams = 1;  // what is heard is noise, of which a search would find nothing sure
    stream.max_seconds = std::min(stream.max_seconds, most_seconds());
    stream.max_tokens = std::min(stream.max_tokens, model_->config().decoder.max_tokens);
    return stream;
  }

  void push(int at, int samples) {
    stream_->push(std::span(audio_).subspan(std::size_t(at), std::size_t(samples)));
  }

  /// The whole line in pushes of 80 ms, not flushed.
  void hear_line() {
    stream_->restart();
    for (int at = 0; at + kPush <= int(audio_.size()); at += kPush) push(at, kPush);
  }

  void measure_pushes() {
    const MoonshineCost cost(model_->config());
    std::vector<double> steady, second;
    for (int round = 0; round < options_.rounds; ++round) {
      stream_->restart();
      for (int at = 0; at + kPush <= int(audio_.size()); at += kPush) {
        const double s = time_once([&] { push(at, kPush); });
        if (at > int(audio_.size()) / 5) steady.push_back(s);
      }
      stream_->restart();
      for (int at = 0; at + kRateHz <= int(audio_.size()); at += kRateHz) {
        const double s = time_once([&] { push(at, kRateHz); });
        if (at > 0) second.push_back(s);
      }
    }
    const double frame = cost.encoder_frame() + cost.cross_weights();
    const double weights =
        bytes_of_weight(compute_.encoder) * (cost.layer_weights() + cost.cross_weights()) +
        bytes_of_weight(moonshine::front_end_precision(compute_)) * cost.front_end_weights();
    add({.name = "80 ms of audio: front end, encoder, cross-K/V",
         .times = times_of(std::move(steady)),
         .operations = 2 * kFramesOfPush * frame,
         .bytes = weights,
         .bound = Bound::kMemory});
    measure_cross_kv();
    add({.name = "1 s of audio in one push",
         .times = times_of(std::move(second)),
         .operations = 2 * moonshine::Config::kFramesPerSecond * frame,
         .bound = bound_of(compute_.encoder)});
  }

  /// The share of the decoder in a push, by a decoder of its own.
  void measure_cross_kv() {
    const moonshine::Checkpoint checkpoint = checkpoint_of(options_);
    const moonshine::Config& config = checkpoint.config;
    const moonshine::DecoderWeights weights = moonshine::pack_decoder(checkpoint, compute_);
    const int frames = int(line_frames());
    engine::Executor executor(engine::chosen_isa(), compute_.threads,
                              moonshine::Decoder::scratch(config, frames));
    moonshine::Decoder decoder(config, weights, compute_, executor, frames, kLineTokens);
    const int dim = config.encoder.dim;
    std::vector<float> rows(std::size_t(kFramesOfPush) * std::size_t(dim));
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = std::sin(0.37f * float(i));
    std::vector<double> seconds;
    for (int round = 0; round < options_.rounds; ++round) {
      decoder.restart();
      while (decoder.frames() + kFramesOfPush <= frames) {
        seconds.push_back(time_once([&] {
          decoder.append({rows.data(), kFramesOfPush, dim, dim});
        }));
      }
    }
    const MoonshineCost cost(config);
    add({.name = "of which cross-K/V append",
         .times = times_of(std::move(seconds)),
         .operations = 2 * kFramesOfPush * cost.cross_weights(),
         .bytes = bytes_of_weight(compute_.encoder) * cost.cross_weights(),
         .bound = Bound::kMemory});
  }

  /// Makes draft_ right: a pass over the whole line confirms all of it. Random weights' scores lie
  /// so close that a batch and single steps can round to other tokens, so it is verified until
  /// nothing changes. Where the model hears fewer words in the synthetic line the draft is given.
  void make_draft() {
    hear_line();
    stream_->flush();
    draft_ = tokens_of(stream_->decode({}, 0, kLineTokens));
    for (int i = 0; i < 2 * kLineTokens && int(draft_.size()) == kLineTokens; ++i) {
      const moonshine::Pass pass = stream_->decode(draft_, 0, kLineTokens);
      if (pass.confirmed == kLineTokens) return;
      draft_ = tokens_of(pass);
    }
    given_ = kLineTokens;
    const int vocabulary = model_->config().vocab_size;
    while (int(draft_.size()) < kLineTokens) draft_.push_back(int(draft_.size()) + vocabulary / 2);
  }

  void measure_passes() {
    make_draft();
    const int n = kLineTokens;
    std::vector<double> last, batch_only, step;
    for (int round = 0; round < options_.rounds; ++round) {
      hear_line();
      last.push_back(time_once([&] {
        stream_->flush();
        confirmed_ = stream_->decode(draft_, given_, n).confirmed;
      }));
      batch_only.push_back(time_once([&] { stream_->decode(draft_, n, n); }));
      int steps = 0;
      const double longer =
          time_once([&] { steps = stream_->decode(draft_, n, n + kStepTokens).decoder_steps; });
      if (steps > 1) step.push_back((longer - batch_only.back()) / (steps - 1));
    }
    const MoonshineCost cost(model_->config());
    const double frames = line_frames();
    const double cache = bytes_of_weight(compute_.decoder == Precision::kFloat32 &&
                                                 compute_.memory != engine::MemoryUsage::kMinimal
                                             ? Precision::kFloat32
                                             : Precision::kFloat16);
    const double weight = bytes_of_weight(compute_.decoder);
    const double batch = 2 * (n + 1) * cost.token(frames, n / 2.0);
    const double batch_bytes = weight * cost.token_weights() + cache * cost.token_cache(frames, n);
    add({.name = "last pass of a " + std::to_string(line_seconds()) + " s line, " +
                 std::to_string(n) + " tokens verified",
         .times = times_of(std::move(last)),
         .operations = batch,
         .bytes = batch_bytes,
         .bound = Bound::kMemory});
    add({.name = "of which the draft's batch",
         .times = times_of(std::move(batch_only)),
         .operations = batch,
         .bytes = batch_bytes,
         .bound = Bound::kMemory});
    if (step.empty()) return;  // the model ends its lines here
    const double middle = n + kStepTokens / 2.0;
    add({.name = "one more token",
         .times = times_of(std::move(step)),
         .operations = 2 * cost.token(frames, middle),
         .bytes = weight * cost.token_weights() + cache * cost.token_cache(frames, middle),
         .bound = Bound::kMemory});
  }

  /// Multiply-adds that the encoder does for a second of audio, counted, beside those of a peer
  /// that at each update runs its layers over 16 past frames a layer and the new ones, computed.
  nlohmann::json operations() {
    stream_->restart();
    push(0, kRateHz);
    const std::int64_t before = stream_->encoder_operations();
    const int first = stream_->frames();
    for (int at = kRateHz; at + kPush <= int(audio_.size()); at += kPush) push(at, kPush);
    const double counted = double(stream_->encoder_operations() - before);
    const double frames = stream_->frames() - first;
    const double a_second = counted / frames * moonshine::Config::kFramesPerSecond;
    const MoonshineCost cost(model_->config());
    const double front_end = moonshine::Config::kFramesPerSecond * cost.front_end();
    const double depth = double(model_->config().encoder.windows.size());
    nlohmann::json peers = nlohmann::json::array();
    for (const double update_s : {0.08, 0.25, 0.5}) {
      const double fresh = update_s * moonshine::Config::kFramesPerSecond;
      const double run = 16 * depth + fresh;
      const double work = front_end + (a_second - front_end) * run / fresh;
      peers.push_back({{"update_seconds", update_s},
                       {"frames_run_per_update", run},
                       {"times_ours", work / a_second},
                       {"multiply_adds_per_second", work}});
    }
    return {{"encoder_multiply_adds_per_second", a_second},
            {"by_the_shapes", moonshine::Config::kFramesPerSecond * cost.encoder_frame()},
            {"peer_that_encodes_again_computed", peers}};
  }

  nlohmann::json measure_memory(std::int64_t peak) {
    const std::int64_t before = resident_bytes();
    moonshine::Stream more(model_, stream_options());
    more.push(std::span(audio_).first(kRateHz));
    more.decode({}, 0, 4);
    return {{"peak_bytes", peak > 0 ? nlohmann::json(peak) : nullptr},
            {"weight_bytes", model_->weight_bytes()},
            {"stream_bytes", more.state_bytes()},
            {"stream_resident_bytes", resident_bytes() - before}};
  }

  static Bound bound_of(Precision weights) {
    if (engine::chosen_isa() != engine::Isa::kAmx) return Bound::kMultiplyAdds;
    return weights == Precision::kBFloat16 ? Bound::kTilesBf16
           : weights == Precision::kInt8   ? Bound::kTilesInt8
                                           : Bound::kMultiplyAdds;
  }

  void add(Op part) { parts_.push_back(std::move(part)); }

  const MoonshineBenchOptions& options_;
  engine::ComputeConfig compute_;
  double load_s_ = 0;
  std::shared_ptr<const moonshine::Model> model_;
  std::unique_ptr<moonshine::Stream> stream_;
  std::vector<float> audio_;  // of a line
  std::vector<int> draft_;
  int given_ = 0;  // so many of its tokens are not to be doubted
  int confirmed_ = 0;
  std::vector<Op> parts_;
};

std::string run_text(nlohmann::json run) {
  for (nlohmann::json& part : run["parts"]) {
    std::string& shape = part["shape"].get_ref<std::string&>();
    if (part.contains("gflop")) shape = fixed(part["gflop"], 3) + " GFLOP";
    if (part.contains("bound") && part["bound"] == "memory") {
      shape += ", " + fixed(1e-6 * part["bytes"].get<double>(), 1) + " MB";
    }
  }
  const nlohmann::json& memory = run["memory"];
  const auto mb = [&](const char* key) {
    return fixed(1e-6 * memory[key].get<double>(), 1) + " MB";
  };
  return "\nthreads " + std::to_string(run["threads"].get<int>()) +
         "; ceilings: " + ceilings_text(run["ceilings"]) + "\nloaded in " +
         fixed(run["load_ms"], 0) + " ms\n" + ops_table(run["parts"]) +
         "draft: " + std::to_string(run["draft_confirmed"].get<int>()) + " of " +
         std::to_string(run["draft_tokens"].get<int>()) + " tokens confirmed" +
         (run["draft_given"].get<int>() > 0 ? ", given as they are" : "") + "\nmemory: " +
         (memory["peak_bytes"].is_null() ? ""
                                         : "peak " + mb("peak_bytes") + " (load and a line), ") +
         "weights " + mb("weight_bytes") + "; one more stream: " + mb("stream_bytes") +
         " of caches, " + mb("stream_resident_bytes") + " measured after 1 s\n";
}

std::string moonshine_text(const nlohmann::json& report) {
  std::string text =
      report["model"].get<std::string>() +
      (report["random_weights"].get<bool>() ? " (RANDOM WEIGHTS, not trained: for speed only)"
                                            : "") +
      ", encoder " + report["encoder_precision"].get<std::string>() + ", decoder " +
      report["decoder_precision"].get<std::string>() + ", " + report["isa"].get<std::string>() +
      ", look-ahead " + fixed(report["latency_ms"], 0) + " ms; last-level cache " +
      fixed(1e-6 * report["last_cache_bytes"].get<double>(), 0) +
      " MB: what it holds can exceed 100 % of memory\n";
  for (const nlohmann::json& run : report["runs"]) text += run_text(run);
  const nlohmann::json& work = report["runs"][0]["operations"];
  text += "\nencoder, multiply-adds per second of audio: " +
          fixed(1e-6 * work["encoder_multiply_adds_per_second"].get<double>(), 1) + " M counted (" +
          fixed(1e-6 * work["by_the_shapes"].get<double>(), 1) + " M by the shapes)\n";
  std::vector<std::vector<std::string>> rows = {
      {"a peer that encodes 16 past frames a layer again (computed)", "M", "x ours"}};
  for (const nlohmann::json& peer : work["peer_that_encodes_again_computed"]) {
    rows.push_back({"each " + fixed(1e3 * peer["update_seconds"].get<double>(), 0) +
                        " ms: " + fixed(peer["frames_run_per_update"], 1) + " frames",
                    fixed(1e-6 * peer["multiply_adds_per_second"].get<double>(), 0),
                    fixed(peer["times_ours"], 1)});
  }
  return text + table(rows, {1, 2});
}

}  // namespace

int run_moonshine_bench(const MoonshineBenchOptions& options) {
  engine::flush_denormals();
  std::vector<int> threads = {options.threads};
  if (options.threads == 0) {
    threads = {1};
    if (engine::physical_cores() > 1) threads.push_back(engine::physical_cores());
  }
  nlohmann::json report = {{"versions", version_json()},
                           {"bench", "moonshine"},
                           {"last_cache_bytes", last_cache_bytes()},
                           {"runs", nlohmann::json::array()}};
  for (const int count : threads) {
    MoonshineBench bench(options, count);
    report["runs"].push_back(bench.run(report["runs"].empty()));
    report.update(bench.description());
  }
  print(options.json ? dump(report, 2) + "\n" : moonshine_text(report));
  return 0;
}

}  // namespace runnel::apps
