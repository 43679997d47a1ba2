#include "models/whisper/network.h"

#include <chrono>
#include <mutex>
#include <optional>
#include <stdexcept>

#include "dsp/log_mel.h"
#include "engine/executor.h"
#include "engine/linear.h"
#include "models/whisper/decoder.h"
#include "models/whisper/encoder.h"
#include "models/whisper/stream_encoder.h"
#include "models/whisper/weights.h"

namespace runnel::models::whisper {
namespace {

using Clock = std::chrono::steady_clock;

double milliseconds(Clock::duration time) {
  return std::chrono::duration<double, std::milli>(time).count();
}

}  // namespace

struct Model::Impl {
  Impl(Checkpoint&& checkpoint, const engine::ComputeConfig& config)
      : compute(config),
        label(checkpoint.label),
        random_weights(checkpoint.random_weights),
        shape(checkpoint.config),
        generation(std::move(checkpoint.generation)),
        tokenizer(std::move(checkpoint.tokenizer)),
        executor(engine::chosen_isa(), config.threads,
                 (shape.streaming() ? StreamEncoder::scratch(shape) : Encoder::scratch(shape)) |
                     Decoder::scratch(shape)),
        encoder_weights(pack_encoder(checkpoint, config)),
        decoder_weights(pack_decoder(checkpoint, config)),
        decoder(shape, generation, decoder_weights, config, executor) {
    if (shape.streaming()) {
      stream_encoder.emplace(shape, encoder_weights, config.encoder, executor);
    } else {
      encoder.emplace(shape, encoder_weights, config.encoder, executor);
    }
  }

  engine::ComputeConfig compute;
  std::string label;
  bool random_weights;
  Config shape;
  GenerationConfig generation;
  std::shared_ptr<const Tokenizer> tokenizer;
  // Scratch of the executor, encoder and decoder serves one stream's step at a time.
  std::mutex mutex;
  engine::Executor executor;
  EncoderWeights encoder_weights;
  DecoderWeights decoder_weights;
  std::optional<Encoder> encoder;  // one of these two
  std::optional<StreamEncoder> stream_encoder;
  Decoder decoder;
};

Model::Model(Checkpoint checkpoint, const engine::ComputeConfig& compute)
    : impl_(std::make_unique<Impl>(std::move(checkpoint), compute)) {}
Model::~Model() = default;

const std::string& Model::label() const noexcept { return impl_->label; }
bool Model::random_weights() const noexcept { return impl_->random_weights; }
const Config& Model::config() const noexcept { return impl_->shape; }
const GenerationConfig& Model::generation() const noexcept { return impl_->generation; }
const Tokenizer& Model::tokenizer() const noexcept { return *impl_->tokenizer; }
const engine::ComputeConfig& Model::compute() const noexcept { return impl_->compute; }
int Model::threads() const noexcept { return impl_->executor.pool.threads(); }
std::size_t Model::weight_bytes() const noexcept {
  return bytes_of(impl_->encoder_weights) + bytes_of(impl_->decoder_weights);
}
std::size_t Model::scratch_bytes() const noexcept {
  const std::size_t encoder =
      impl_->encoder ? impl_->encoder->bytes() : impl_->stream_encoder->bytes();
  return encoder + impl_->decoder.bytes() +
         impl_->executor.scratch_bytes() * std::size_t(threads());
}

struct Session::Impl {
  Impl(std::shared_ptr<const Model> of, int max_hypotheses)
      : model(std::move(of)),
        shared(*model->impl_),
        cache(shared.shape, shared.compute, max_hypotheses),
        encoded(std::size_t(shared.shape.audio_ctx) * std::size_t(shared.shape.dim)),
        logits_stride((shared.shape.vocab_size + 15) / 16 * 16),
        logits(std::size_t(Decoder::kLogitRows) * std::size_t(logits_stride)) {
    if (shared.shape.streaming()) stream.emplace(shared.shape);
  }

  MatrixView<float> logit_rows(int rows) {
    return {logits.data(), rows, shared.shape.vocab_size, logits_stride};
  }
  int alignment_heads() const { return int(shared.generation.alignment_heads.size()); }
  float* kept_alignment() {
    return keep_alignment ? reinterpret_cast<float*>(alignment.data()) : nullptr;
  }

  const std::shared_ptr<const Model> model;
  Model::Impl& shared;
  DecoderCache cache;
  std::optional<StreamCache> stream;
  AlignedVector<float> encoded;  // [audio_ctx, dim]
  EncodeTimes times;             // of the last encode
  const std::ptrdiff_t logits_stride;
  AlignedVector<float> logits;  // [kLogitRows, logits_stride]
  bool keep_alignment = false;
  engine::PageBuffer alignment;  // [text_ctx, alignment heads, audio_ctx]; empty until wanted
};

Session::Session(std::shared_ptr<const Model> model, int max_hypotheses) {
  if (max_hypotheses < 1 || max_hypotheses > Decoder::kLogitRows) {
    throw std::invalid_argument("hypotheses: expected 1 to " + std::to_string(Decoder::kLogitRows) +
                                ", found " + std::to_string(max_hypotheses));
  }
  impl_ = std::make_unique<Impl>(std::move(model), max_hypotheses);
}
Session::~Session() = default;
Session::Session(Session&&) noexcept = default;

const Model& Session::model() const noexcept { return *impl_->model; }
int Session::max_hypotheses() const noexcept { return impl_->cache.max_hypotheses; }
int Session::position() const noexcept { return impl_->cache.position; }
std::size_t Session::state_bytes() const noexcept {
  return impl_->cache.bytes() + (impl_->stream ? impl_->stream->bytes() : 0) +
         (impl_->encoded.size() + impl_->logits.size()) * sizeof(float) + impl_->alignment.size();
}

void Session::restart_audio() noexcept {
  impl_->stream->restart();
  impl_->cache.audio_rows = 0;
}

void Session::encode_more(MatrixView<const float> mel, bool last) noexcept {
  const Config& c = impl_->shared.shape;
  const std::lock_guard<std::mutex> lock(impl_->shared.mutex);
  const auto start = Clock::now();
  const StreamEncoder::Rows rows = impl_->shared.stream_encoder->push(
      mel, last, *impl_->stream, {impl_->encoded.data(), c.audio_ctx, c.dim, c.dim});
  const auto encoded = Clock::now();
  if (rows.final > rows.first) {
    impl_->shared.decoder.attend_to({impl_->encoded.data(), rows.count, c.dim, c.dim}, rows.first,
                                    impl_->cache);
  }
  impl_->cache.audio_rows = rows.count;
  impl_->times = {.encoder_ms = milliseconds(encoded - start),
                  .cross_kv_ms = milliseconds(Clock::now() - encoded)};
}

void Session::encode(MatrixView<const float> mel) noexcept {
  const Config& c = impl_->shared.shape;
  if (c.streaming()) {
    restart_audio();
    return encode_more(mel, true);
  }
  const MatrixView<float> rows{impl_->encoded.data(), c.audio_ctx, c.dim, c.dim};
  const std::lock_guard<std::mutex> lock(impl_->shared.mutex);
  const auto start = Clock::now();
  impl_->shared.encoder->run(mel, rows);
  const auto encoded = Clock::now();
  impl_->shared.decoder.attend_to(rows, 0, impl_->cache);
  impl_->times = {.encoder_ms = milliseconds(encoded - start),
                  .cross_kv_ms = milliseconds(Clock::now() - encoded)};
}

EncodeTimes Session::last_encode() const noexcept { return impl_->times; }

MatrixView<const float> Session::encoder_rows() const noexcept {
  const Config& c = impl_->shared.shape;
  return {impl_->encoded.data(), impl_->cache.audio_rows, c.dim, c.dim};
}

MatrixView<const float> Session::prefill(std::span<const int> tokens, int first_logits) noexcept {
  const MatrixView<float> logits = impl_->logit_rows(int(tokens.size()) - first_logits);
  const std::lock_guard<std::mutex> lock(impl_->shared.mutex);
  impl_->shared.decoder.prefill(tokens, first_logits, impl_->cache, logits,
                                impl_->kept_alignment());
  return logits;
}

MatrixView<const float> Session::step(std::span<const Step> steps) noexcept {
  const MatrixView<float> logits = impl_->logit_rows(int(steps.size()));
  const std::lock_guard<std::mutex> lock(impl_->shared.mutex);
  impl_->shared.decoder.step(steps, impl_->cache, logits, impl_->kept_alignment());
  return logits;
}

void Session::keep_alignment(bool keep) {
  const Config& c = impl_->shared.shape;
  if (keep && impl_->alignment.size() == 0) {
    impl_->alignment =
        engine::PageBuffer(std::size_t(c.text_ctx) * std::size_t(impl_->alignment_heads()) *
                           std::size_t(c.audio_ctx) * sizeof(float));
  }
  impl_->keep_alignment = keep;
}

MatrixView<const float> Session::alignment(int row) const noexcept {
  const int heads = impl_->alignment_heads(), frames = impl_->shared.shape.audio_ctx;
  const auto* weights = reinterpret_cast<const float*>(impl_->alignment.data());
  return {weights + std::ptrdiff_t(row) * heads * frames, heads, impl_->cache.audio_rows, frames};
}

MatrixView<const float> window_for(const Config& c, MatrixView<const float> log10_mel,
                                   MatrixView<float> out) noexcept {
  if (c.streaming()) {
    out.rows = log10_mel.rows;
    scale_for_stream(log10_mel, out);
  } else {
    dsp::whisper_window(log10_mel, out);
  }
  return out;
}

}  // namespace runnel::models::whisper
