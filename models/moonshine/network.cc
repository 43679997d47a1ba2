#include "models/moonshine/network.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "engine/cores.h"
#include "engine/executor.h"
#include "models/moonshine/decoder.h"
#include "models/moonshine/decoder_weights.h"
#include "models/moonshine/encoder.h"
#include "models/moonshine/encoder_weights.h"
#include "models/moonshine/front_end.h"

namespace runnel::models::moonshine {
namespace {

constexpr int kMostChunk = 1 << 24;  // samples
constexpr int kRowFrames = 4;        // 5 ms frames a row

engine::ScratchNeed scratch_of(const Config& c, int max_frames) {
  return FrontEnd::scratch(c.encoder) | Encoder::scratch(c.encoder) |
         Decoder::scratch(c, max_frames);
}

engine::ComputeConfig resolved(engine::ComputeConfig compute, const Checkpoint& checkpoint) {
  if (compute.threads == 0) compute.threads = engine::physical_cores();
  if (compute.automatic && checkpoint.automatic_precision) {
    compute.encoder = compute.decoder = *checkpoint.automatic_precision;
  }
  return compute;
}

[[noreturn]] void refuse(const char* option, const std::string& expected,
                         const std::string& found) {
  throw std::invalid_argument(std::string(option) + ": expected " + expected + ", found " + found);
}

/// Throws for options out of range.
const StreamOptions& checked(const StreamOptions& options, const Config& c) {
  const double most = c.encoder.max_frames / Config::kFramesPerSecond;
  if (!(options.max_seconds > 0 && options.max_seconds <= most)) {
    refuse("max_seconds", "more than 0, at most " + std::to_string(most),
           std::to_string(options.max_seconds));
  }
  if (options.max_tokens < 1 || options.max_tokens > c.decoder.max_tokens) {
    refuse("max_tokens", "1 to " + std::to_string(c.decoder.max_tokens),
           std::to_string(options.max_tokens));
  }
  if (options.max_chunk < 1 || options.max_chunk > kMostChunk) {
    refuse("max_chunk", "1 to " + std::to_string(kMostChunk), std::to_string(options.max_chunk));
  }
  if (options.beams < 0 || options.beams > BeamSearch::kMostBeams) {
    refuse("beams", "0 to " + std::to_string(BeamSearch::kMostBeams),
           std::to_string(options.beams));
  }
  return options;
}

}  // namespace

struct Model::Impl {
  Impl(Checkpoint&& checkpoint, const engine::ComputeConfig& config, WindowSemantics semantics)
      : compute(resolved(config, checkpoint)),
        windows(semantics),
        label(checkpoint.label),
        random_weights(checkpoint.random_weights),
        shape(checkpoint.config),
        tokenizer(std::move(checkpoint.tokenizer)),
        encoder(pack_encoder(checkpoint, compute)),
        decoder(pack_decoder(checkpoint, compute)) {
    if (compute.threads > 1) {
      executor.emplace(engine::chosen_isa(), compute.threads,
                       scratch_of(shape, shape.encoder.max_frames));
    }
  }

  engine::ComputeConfig compute;
  WindowSemantics windows;
  std::string label;
  bool random_weights;
  Config shape;
  std::shared_ptr<const Tokenizer> tokenizer;
  EncoderWeights encoder;
  DecoderWeights decoder;
  // More than one thread: streams take turns. With one, each stream has an executor of its own.
  std::mutex mutex;
  std::optional<engine::Executor> executor;
};

Model::Model(Checkpoint checkpoint, const engine::ComputeConfig& compute, WindowSemantics windows)
    : impl_(std::make_unique<Impl>(std::move(checkpoint), compute, windows)) {}
Model::~Model() = default;

const std::string& Model::label() const noexcept { return impl_->label; }
bool Model::random_weights() const noexcept { return impl_->random_weights; }
const engine::ComputeConfig& Model::compute() const noexcept { return impl_->compute; }
const Config& Model::config() const noexcept { return impl_->shape; }
const Tokenizer& Model::tokenizer() const noexcept { return *impl_->tokenizer; }
WindowSemantics Model::windows() const noexcept { return impl_->windows; }
int Model::latency_samples() const noexcept {
  const Config::Encoder& c = impl_->shape.encoder;
  // A row is there with the first of its own 5 ms frames.
  return (kRowFrames * look_ahead(c, impl_->windows) + 1) * c.frame_samples - 1;
}
std::size_t Model::weight_bytes() const noexcept {
  return bytes_of(impl_->encoder) + bytes_of(impl_->decoder);
}

struct Stream::Impl {
  Impl(std::shared_ptr<const Model> of, const StreamOptions& wanted)
      : model(std::move(of)),
        shared(*model->impl_),
        options(checked(wanted, shared.shape)),
        max_samples(std::int64_t(options.max_seconds * Config::kSampleRate)),
        max_frames(int((max_samples + samples_a_row() - 1) / samples_a_row())),
        own(shared.compute.threads > 1
                ? nullptr
                : std::make_unique<engine::Executor>(engine::chosen_isa(), 1,
                                                     scratch_of(shared.shape, max_frames))),
        executor(own ? *own : *shared.executor),
        front_end(shared.shape.encoder, shared.encoder.front_end,
                  front_end_precision(shared.compute), executor, options.max_chunk),
        encoder(shared.shape.encoder, shared.windows, shared.encoder, shared.compute.encoder,
                executor, front_end.max_rows()),
        decoder(shared.shape, shared.decoder, shared.compute, executor, max_frames,
                options.max_tokens, options.beams > 0 ? options.beams : shared.shape.beams),
        rows(std::size_t(std::max(options.max_chunk / samples_a_row() + 2, encoder.max_outputs())) *
             std::size_t(dim())) {}

  int samples_a_row() const noexcept { return kRowFrames * shared.shape.encoder.frame_samples; }
  int dim() const noexcept { return shared.shape.encoder.dim; }

  /// Held while the shared threads and their scratch are used.
  std::unique_lock<std::mutex> turn() noexcept {
    return own ? std::unique_lock<std::mutex>() : std::unique_lock<std::mutex>(shared.mutex);
  }

  MatrixView<const float> new_rows() const noexcept {
    return {rows.data(), new_count, dim(), dim()};
  }

  void keep(MatrixView<const float> done) noexcept {
    std::copy_n(done.data, std::ptrdiff_t(done.rows) * dim(),
                rows.data() + std::ptrdiff_t(new_count) * dim());
    new_count += done.rows;
  }

  void hand_over() noexcept {
    if (new_count == 0) return;
    frames += new_count;
    decoder.append(new_rows());
  }

  const std::shared_ptr<const Model> model;
  Model::Impl& shared;
  const StreamOptions options;
  const std::int64_t max_samples;  // between two restarts
  const int max_frames;
  const std::unique_ptr<engine::Executor> own;  // one thread; null: the model's
  engine::Executor& executor;
  FrontEnd front_end;
  Encoder encoder;
  Decoder decoder;
  AlignedVector<float> rows;  // of the last push or flush
  int new_count = 0;
  std::int64_t samples = 0;
  int frames = 0;
  bool flushed = false;
};

Stream::Stream(std::shared_ptr<const Model> model, const StreamOptions& options)
    : impl_(std::make_unique<Impl>(std::move(model), options)) {}
Stream::~Stream() = default;
Stream::Stream(Stream&&) noexcept = default;

const Model& Stream::model() const noexcept { return *impl_->model; }
std::size_t Stream::state_bytes() const noexcept {
  return impl_->front_end.bytes() + impl_->encoder.bytes() + impl_->decoder.bytes() +
         impl_->rows.size() * sizeof(float) + (impl_->own ? impl_->own->scratch_bytes() : 0);
}

void Stream::restart() noexcept {
  impl_->front_end.restart();
  impl_->encoder.restart();
  impl_->decoder.restart();
  impl_->samples = 0;
  impl_->frames = impl_->new_count = 0;
  impl_->flushed = false;
}

int Stream::push(std::span<const float> samples) noexcept {
  Impl& s = *impl_;
  assert(samples.size() <= std::size_t(s.options.max_chunk));
  s.new_count = 0;
  if (s.flushed) return 0;
  const auto most =
      std::size_t(std::min<std::int64_t>(s.options.max_chunk, s.max_samples - s.samples));
  const int taken = int(std::min(samples.size(), most));
  s.samples += taken;
  const auto turn = s.turn();
  for (std::span<const float> rest = samples.first(std::size_t(taken)); !rest.empty();) {
    const int rows = s.front_end.push(rest, s.encoder.input());
    if (rows > 0) s.keep(s.encoder.advance(rows, false));
  }
  s.hand_over();
  return taken;
}

void Stream::flush() noexcept {
  Impl& s = *impl_;
  s.new_count = 0;
  if (s.flushed) return;
  s.flushed = true;
  const auto turn = s.turn();
  const int rows = s.front_end.flush(s.encoder.input());
  s.keep(s.encoder.advance(rows, true));
  s.hand_over();
}

int Stream::frames() const noexcept { return impl_->frames; }
MatrixView<const float> Stream::new_rows() const noexcept { return impl_->new_rows(); }

Pass Stream::decode(std::span<const int> draft, int fixed, int limit,
                    const TokenBias* bias) noexcept {
  const auto turn = impl_->turn();
  return impl_->decoder.decode(draft, fixed, limit, bias);
}

std::int64_t Stream::encoder_operations() const noexcept {
  return impl_->front_end.operations() + impl_->encoder.operations();
}
std::int64_t Stream::decoder_operations() const noexcept { return impl_->decoder.operations(); }

}  // namespace runnel::models::moonshine
