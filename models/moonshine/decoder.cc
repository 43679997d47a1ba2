#include "models/moonshine/decoder.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <string>

#include "engine/linear.h"

namespace runnel::models::moonshine {
namespace {

using engine::Activations;
using engine::PageBuffer;

constexpr int kKeyBlock = 16;  // keys that lie together in the cross-attention's memory
// Multiply-adds below which attention is not worth a fork.
constexpr std::int64_t kSmallWork = 1 << 16;
// Logarithm of how likely a drafted token is for a search to leave it as it is: 80 %.
constexpr float kSure = -0.22f;

float* floats(PageBuffer& buffer) { return reinterpret_cast<float*>(buffer.data()); }

PageBuffer float_buffer(int rows, std::ptrdiff_t cols) {
  return PageBuffer(std::size_t(rows) * std::size_t(cols) * sizeof(float));
}

std::size_t whole_lines(std::size_t bytes) { return (bytes + 63) / 64 * 64; }

/// Channels that positions turn, in pairs of neighbours. The part of a head may be an odd number of
/// channels; then the pair that it ends in is turned as a whole.
int rotary_channels(const Config::Decoder& d) { return int(d.rotary_part * d.head_dim); }
int rotary_pairs(const Config::Decoder& d) { return (rotary_channels(d) + 1) / 2; }

AlignedVector<float> rope_table(const Config::Decoder& d, int positions) {
  const int pairs = rotary_pairs(d);
  AlignedVector<float> table;
  table.reserve(std::size_t(positions) * std::size_t(pairs) * 2);
  for (int p = 0; p < positions; ++p) {
    for (int i = 0; i < pairs; ++i) {
      // Rounded where the reference rounds, as the angle of a late position is large.
      const float frequency =
          1.0f / float(std::pow(d.rope_theta, double(float(2 * i) / float(rotary_channels(d)))));
      const float angle = float(p) * frequency;
      table.push_back(std::cos(angle));
      table.push_back(std::sin(angle));
    }
  }
  return table;
}

void rotate(float* head, const float* turns, int pairs) {
  for (int i = 0; i < 2 * pairs; i += 2) {
    const float a = head[i], b = head[i + 1], cosine = turns[i], sine = turns[i + 1];
    head[i] = a * cosine - b * sine;
    head[i + 1] = b * cosine + a * sine;
  }
}

void check(const char* what, int value, int low, int high) {
  if (value >= low && value <= high) return;
  throw std::invalid_argument(std::string(what) + ": expected " + std::to_string(low) + " to " +
                              std::to_string(high) + ", found " + std::to_string(value));
}

}  // namespace

Decoder::Decoder(const Config& config, const DecoderWeights& weights,
                 const engine::ComputeConfig& compute, engine::Executor& executor, int max_frames,
                 int max_tokens, int beams)
    : config_(config),
      weights_(weights),
      executor_(executor),
      half_(compute.decoder != engine::Precision::kFloat32 ||
            compute.memory == engine::MemoryUsage::kMinimal),
      max_frames_(
          (check("frames of an utterance", max_frames, 1, config.encoder.max_frames), max_frames)),
      max_tokens_(
          (check("tokens of a hypothesis", max_tokens, 1, config.decoder.max_tokens), max_tokens)),
      slots_((check("beams", beams, 1, BeamSearch::kMostBeams),
              std::size_t(BeamSearch::slots(beams, max_tokens)))),
      keys_bytes_(std::size_t((max_frames + kKeyBlock - 1) / kKeyBlock * kKeyBlock) *
                  std::size_t(config.decoder.head_dim) * element()),
      values_bytes_(
          whole_lines(std::size_t(max_frames) * std::size_t(config.decoder.head_dim) * element())),
      cross_(std::size_t(config.decoder.layers) * std::size_t(config.decoder.heads) *
             (keys_bytes_ + values_bytes_)),
      self_(std::size_t(config.decoder.layers) * slots_ * 2 * std::size_t(attn()) * element()),
      placed_(float_buffer(kAppendRows, config.encoder.dim)),
      memory_(kAppendRows, config.decoder.dim, Activations::format_of(executor, compute.encoder)),
      cross_kv_(float_buffer(kAppendRows, config.decoder.layers * 2 * attn())),
      rope_(rope_table(config.decoder, max_tokens)),
      identity_(std::size_t(max_tokens)),
      rows_(std::size_t(kBatchRows)),
      search_(beams, max_tokens, config.end_token),
      few_(make_buffers(engine::kFewRows, Activations::Format::kFloat)),
      many_(make_buffers(kBatchRows, Activations::format_of(executor, compute.decoder))),
      logits_stride_(aligned_stride<float>(config.vocab_size)),
      logits_(float_buffer(kLogitRows, logits_stride_)),
      biased_(float_buffer(1, logits_stride_)),
      peak_layer_(config.decoder.layers / 2),
      peaks_(std::size_t(kBatchRows) * std::size_t(config.decoder.layers - peak_layer_) *
             std::size_t(config.decoder.heads)),
      inputs_(std::size_t(max_tokens) + 1),
      logprobs_(std::size_t(max_tokens)),
      centres_(std::size_t(max_tokens)) {
  if (weights.adapter.weight.outputs() > 0) {
    adapted_ = Activations(kAppendRows, config.encoder.dim,
                           Activations::format_of(executor, compute.encoder));
  }
  std::iota(identity_.begin(), identity_.end(), 0);
}

Decoder::Buffers Decoder::make_buffers(int rows, Activations::Format format) const {
  const Config::Decoder& d = config_.decoder;
  return {
      .residual = float_buffer(rows, d.dim),
      .normed = Activations(rows, d.dim, format),
      .wide = float_buffer(rows, std::max(3 * attn(), 2 * d.ffn)),
      .attended = Activations(rows, attn(), format),
      .heads = format == Activations::Format::kFloat ? PageBuffer() : float_buffer(rows, attn()),
      .hidden = Activations(rows, d.ffn, format),
      .last = Activations(std::min(rows, kLogitRows), d.dim, format)};
}

std::byte* Decoder::cross_keys(int layer, int head) noexcept {
  return cross_.data() +
         std::size_t(layer * config_.decoder.heads + head) * (keys_bytes_ + values_bytes_);
}

std::byte* Decoder::cross_values(int layer, int head) noexcept {
  return cross_keys(layer, head) + keys_bytes_;
}

// ---- The audio ----

void Decoder::restart() noexcept { frames_ = 0; }

int Decoder::append(MatrixView<const float> encoder_rows) noexcept {
  const int dim = config_.encoder.dim, width = config_.decoder.layers * 2 * attn();
  assert(encoder_rows.rows == 0 || encoder_rows.cols == dim);
  const int taken = std::min(encoder_rows.rows, max_frames_ - frames_);
  for (int done = 0; done < taken; done += kAppendRows) {
    const int n = std::min(kAppendRows, taken - done);
    const MatrixView<float> placed{floats(placed_), n, dim, dim};
    for (int i = 0; i < n; ++i) {
      executor_.rows.add(encoder_rows.data + (done + i) * encoder_rows.stride,
                         weights_.positions.data() + std::ptrdiff_t(frames_ + i) * dim, dim,
                         placed.data + i * placed.stride);
    }
    if (weights_.adapter.weight.outputs() > 0) {
      engine::pack(executor_, placed, adapted_);
      engine::multiply(executor_, weights_.adapter, adapted_, n, memory_);
      operations_ += std::int64_t(n) * dim * config_.decoder.dim;
    } else {
      engine::pack(executor_, placed, memory_);
    }
    engine::multiply(executor_, weights_.cross_kv, memory_,
                     MatrixView<float>{floats(cross_kv_), n, width, width});
    operations_ += std::int64_t(n) * config_.decoder.dim * width;
    remember(frames_, n);
    frames_ += n;
  }
  return taken;
}

void Decoder::remember(int first, int n) noexcept {
  const Config::Decoder& d = config_.decoder;
  const int dim = d.head_dim, width = d.layers * 2 * attn();
  // One key's elements lie kKeyBlock apart; a block begins with zeros in the places to come.
  const auto place = [&](const auto* key, std::byte* keys, int t) {
    auto* block = reinterpret_cast<std::remove_cvref_t<decltype(*key)>*>(keys) +
                  std::ptrdiff_t(t / kKeyBlock) * dim * kKeyBlock;
    if (t % kKeyBlock == 0) std::fill_n(block, dim * kKeyBlock, 0);
    for (int i = 0; i < dim; ++i) block[i * kKeyBlock + t % kKeyBlock] = key[i];
  };
  executor_.pool.run(d.layers, [&](int layer, int thread) {
    std::uint16_t* narrow = executor_.scratch<std::uint16_t>(thread, std::size_t(dim));
    for (int head = 0; head < d.heads; ++head) {
      std::byte* keys = cross_keys(layer, head);
      std::byte* values = cross_values(layer, head) + std::size_t(first * dim) * element();
      const float* key = floats(cross_kv_) + layer * 2 * attn() + head * dim;
      for (int t = 0; t < n; ++t, key += width, values += std::size_t(dim) * element()) {
        if (half_) {
          executor_.rows.to_f16(key, dim, narrow);
          place(narrow, keys, first + t);
          executor_.rows.to_f16(key + attn(), dim, reinterpret_cast<std::uint16_t*>(values));
        } else {
          place(key, keys, first + t);
          std::memcpy(values, key + attn(), std::size_t(dim) * sizeof(float));
        }
      }
    }
  });
}

// ---- The text ----

Pass Decoder::decode(std::span<const int> draft, int fixed, int limit,
                     const TokenBias* bias) noexcept {
  limit = std::min(limit, max_tokens_);
  if (frames_ == 0 || limit <= 0) return {};
  const int drafted = take_draft(draft, limit);
  fixed = std::clamp(fixed, 0, drafted);
  if (search_.beams() == 1 || fixed == limit) return decode_greedily(drafted, fixed, limit, bias);
  Pass pass = search(drafted, fixed, limit, bias);
  const auto [kept, _] =
      std::mismatch(pass.tokens.begin(), pass.tokens.end(), draft.begin(), draft.begin() + drafted);
  pass.confirmed = int(kept - pass.tokens.begin());
  return pass;
}

int Decoder::take_draft(std::span<const int> draft, int limit) noexcept {
  inputs_[0] = config_.start_token;
  int drafted = 0;
  while (drafted < std::min(int(draft.size()), limit)) {
    const int token = draft[std::size_t(drafted)];
    if (token < 0 || token >= config_.vocab_size || token == config_.end_token) break;
    inputs_[std::size_t(++drafted)] = token;
  }
  return drafted;
}

Pass Decoder::decode_greedily(int drafted, int fixed, int limit, const TokenBias* bias) noexcept {
  Pass pass;
  // Inputs [0, known) are there: confirmed or drafted ones. Those before `next` have run.
  int next = 0, known = std::min(drafted + 1, limit), tokens = 0;
  bool open = true;
  while (open) {
    const int n = std::min(known - next, kBatchRows);
    Buffers& b = n > engine::kFewRows ? many_ : few_;
    run_inputs(b, next, n);
    ++pass.decoder_steps;
    const int first = next;
    next += n;
    for (int i = 0; open && i < n; ++i) {
      if (i % kLogitRows == 0) project(b, i, std::min(kLogitRows, n - i));
      const int position = first + i;
      const bool given = position < fixed, guessed = position < drafted;
      const int guess = guessed ? inputs_[std::size_t(position) + 1] : -1;
      const int token = choose(position, i % kLogitRows, given ? guess : -1, bias);
      if (!given && token == config_.end_token) {
        pass.ended = true;
        pass.end_logprob = end_logprob_;
        open = false;
        break;
      }
      tokens = position + 1;
      centres_[std::size_t(position)] = centre_of(i);
      open = tokens < limit;
      if (token == guess) {
        pass.confirmed = tokens;
        if (position + 1 < known) continue;
      }
      // What was drafted after this is void.
      inputs_[std::size_t(tokens)] = token;
      drafted = std::min(drafted, tokens);
      known = tokens + 1;
      next = tokens;
      break;
    }
  }
  const Pass found = pass_of(tokens);
  pass.tokens = found.tokens;
  pass.logprobs = found.logprobs;
  pass.frames = found.frames;
  return pass;
}

Pass Decoder::pass_of(int tokens) const noexcept {
  const auto count = std::size_t(tokens);
  Pass pass;
  pass.tokens = std::span(inputs_).subspan(1, count);
  pass.logprobs = std::span(logprobs_).first(count);
  pass.frames = std::span(centres_).first(count);
  return pass;
}

Pass Decoder::search(int drafted, int fixed, int limit, const TokenBias* bias) noexcept {
  int steps = 0;
  drafted = std::min(drafted, limit - 1);  // something is to be found
  for (int first = 0, open = true; open; first += kBatchRows) {
    const int n = std::min(drafted + 1 - first, kBatchRows);
    Buffers& b = n > engine::kFewRows ? many_ : few_;
    run_inputs(b, first, n);
    ++steps;
    for (int i = 0; open && i < n; ++i) {
      if (i % kLogitRows == 0) project(b, i, std::min(kLogitRows, n - i));
      const int position = first + i;
      if (position < drafted) {
        choose(position, i % kLogitRows, inputs_[std::size_t(position) + 1], nullptr);
        if (position < fixed || logprobs_[std::size_t(position)] > kSure) {
          centres_[std::size_t(position)] = centre_of(i);
          continue;
        }
      }
      open = false;
      fixed = position;
      search_.begin(fixed + 1);
      propose(0, i % kLogitRows, i, {inputs_.data() + 1, std::size_t(fixed)}, bias);
    }
  }
  for (int tokens = fixed + 1; search_.advance() && tokens < limit; ++tokens) {
    const int n = search_.running();
    for (int i = 0; i < n; ++i) {
      const int slot = search_.keep(i);
      const BeamSearch::Hypothesis h = search_.hypothesis(i);
      rows_[std::size_t(i)] = {h.tokens.back().token, tokens, slot, h.positions.data()};
    }
    run_layers(few_, std::span(rows_).first(std::size_t(n)));
    project(few_, 0, n);
    ++steps;
    for (int i = 0; i < n; ++i) {
      if (bias) {
        int next = fixed;
        for (const auto& said : search_.hypothesis(i).tokens)
          inputs_[std::size_t(++next)] = said.token;
      }
      propose(i, i, i, {inputs_.data() + 1, std::size_t(tokens)}, bias);
    }
  }
  int tokens = fixed;
  for (const BeamSearch::Token& said : search_.best().tokens) {
    logprobs_[std::size_t(tokens)] = said.logprob;
    centres_[std::size_t(tokens)] = said.frame;
    inputs_[std::size_t(++tokens)] = said.token;
  }
  Pass pass = pass_of(tokens);
  pass.ended = search_.ended();
  pass.end_logprob = pass.ended ? search_.end_logprob() : 0;
  pass.decoder_steps = steps;
  return pass;
}

/// What may follow `said`, by row `row` of logits_ and row `buffer_row` of the last run.
void Decoder::propose(int hypothesis, int row, int buffer_row, std::span<const int> said,
                      const TokenBias* bias) noexcept {
  const float* logits = floats(logits_) + row * logits_stride_;
  const auto n = std::size_t(config_.vocab_size);
  float log_sum = 0;
  executor_.rows.argmax(logits, int(n), &log_sum);
  search_.propose(hypothesis, {logits, n},
                  bias ? biased(logits, said, *bias) : std::span(logits, n), log_sum,
                  centre_of(buffer_row));
}

std::span<const float> Decoder::biased(const float* logits, std::span<const int> said,
                                       const TokenBias& bias) noexcept {
  const auto n = std::size_t(config_.vocab_size);
  std::memcpy(floats(biased_), logits, n * sizeof(float));
  bias.apply(said, {floats(biased_), n});
  return {floats(biased_), n};
}

float Decoder::centre_of(int row) noexcept {
  const auto heads =
      std::size_t(config_.decoder.layers - peak_layer_) * std::size_t(config_.decoder.heads);
  return agreed_centre(std::span(peaks_).subspan(std::size_t(row) * heads, heads));
}

int Decoder::choose(int position, int row, int taken, const TokenBias* bias) noexcept {
  const int n = config_.vocab_size;
  const float* logits = floats(logits_) + row * logits_stride_;
  float log_sum = 0;
  int token = executor_.rows.argmax(logits, n, &log_sum);
  if (taken >= 0) {
    token = taken;
  } else if (bias) {
    const auto scores = biased(logits, {inputs_.data() + 1, std::size_t(position)}, *bias);
    float unused = 0;
    token = executor_.rows.argmax(scores.data(), n, &unused);
  }
  // Of the model's own softmax: a bias makes nothing more likely to have been said.
  const float logprob = logits[token] - log_sum;
  if (taken < 0 && token == config_.end_token) {
    end_logprob_ = logprob;
  } else {
    logprobs_[std::size_t(position)] = logprob;
  }
  return token;
}

void Decoder::run_inputs(Buffers& b, int first, int n) noexcept {
  for (int i = 0; i < n; ++i) {
    rows_[std::size_t(i)] = {inputs_[std::size_t(first + i)], first + i, first + i,
                             identity_.data()};
  }
  run_layers(b, std::span(rows_).first(std::size_t(n)));
}

void Decoder::run_layers(Buffers& b, std::span<const Row> rows) noexcept {
  const Config::Decoder& d = config_.decoder;
  const int n = int(rows.size());
  const MatrixView<float> x{floats(b.residual), n, d.dim, d.dim};
  for (int i = 0; i < n; ++i) {
    weights_.embedding_rows().read_row(rows[std::size_t(i)].token, x.data + i * x.stride);
  }
  for (int i = 0; i < d.layers; ++i) {
    const DecoderLayer& layer = weights_.layers[std::size_t(i)];
    engine::normalize(executor_, layer.self_norm, x, b.normed);
    self_attention(layer, i, b, rows);
    engine::multiply(executor_, layer.self_out, b.attended, x, {.residual = x});
    engine::normalize(executor_, layer.cross_norm, x, b.normed);
    cross_attention(layer, i, b, n);
    engine::multiply(executor_, layer.cross_out, b.attended, x, {.residual = x});
    engine::normalize(executor_, layer.ffn_norm, x, b.normed);
    feed_forward(layer, b, n);
    engine::multiply(executor_, layer.fc2, b.hidden, x, {.residual = x});
  }
  std::int64_t seen = 0;
  for (const Row& row : rows) seen += row.position + 1;
  operations_ += std::int64_t(d.layers) * (std::int64_t(n) * d.dim * (6 * attn() + 3 * d.ffn) +
                                           2 * attn() * (seen + std::int64_t(n) * frames_));
}

void Decoder::self_attention(const DecoderLayer& layer, int index, Buffers& b,
                             std::span<const Row> rows) noexcept {
  const Config::Decoder& d = config_.decoder;
  const int n = int(rows.size());
  const int dim = d.head_dim, width = attn(), pairs = rotary_pairs(d);
  const std::ptrdiff_t stride = 3 * width;
  const MatrixView<float> qkv{floats(b.wide), n, 3 * width, stride};
  engine::multiply(executor_, layer.qkv, b.normed, qkv);
  std::byte* kept = self_.data() + std::size_t(index) * slots_ * 2 * std::size_t(width) * element();
  for (int i = 0; i < n; ++i) {
    float* row = qkv.data + i * stride;
    const Row& at = rows[std::size_t(i)];
    const float* turns = rope_.data() + std::ptrdiff_t(at.position) * 2 * pairs;
    for (int head = 0; head < 2 * d.heads; ++head) rotate(row + head * dim, turns, pairs);
    std::byte* to = kept + std::size_t(at.slot) * 2 * std::size_t(width) * element();
    if (half_) {
      executor_.rows.to_f16(row + width, 2 * width, reinterpret_cast<std::uint16_t*>(to));
    } else {
      std::memcpy(to, row + width, 2 * std::size_t(width) * sizeof(float));
    }
  }
  const bool strips = b.attended.format() != Activations::Format::kFloat;
  const MatrixView<float> out =
      strips ? MatrixView<float>{floats(b.heads), n, width, width} : b.attended.floats(n);
  const float scale = 1.0f / std::sqrt(float(dim));
  const auto attend = half_ ? executor_.attention.gathered_f16 : executor_.attention.gathered_f32;
  const bool small = std::int64_t(n) * (rows.back().position + 1) * 2 * width < kSmallWork;
  const int per_task = small ? d.heads : 1;
  executor_.pool.run(d.heads / per_task, [&](int task, int thread) {
    for (int head = task * per_task; head < (task + 1) * per_task; ++head) {
      const std::byte* keys = kept + std::size_t(head * dim) * element();
      for (int i = 0; i < n; ++i) {
        const engine::AttendRows context{.keys = keys,
                                         .values = keys + std::size_t(width) * element(),
                                         .stride = 2 * width,
                                         .rows = rows[std::size_t(i)].context,
                                         .n = rows[std::size_t(i)].position + 1};
        attend(qkv.data + i * stride + head * dim, context, dim, scale,
               executor_.scratch<float>(thread, engine::attention_weights(1, context.n)),
               out.data + i * out.stride + head * dim);
      }
    }
  });
  if (strips) engine::pack(executor_, out, b.attended);
}

void Decoder::cross_attention(const DecoderLayer& layer, int index, Buffers& b, int n) noexcept {
  const Config::Decoder& d = config_.decoder;
  const int dim = d.head_dim, width = attn();
  const MatrixView<float> queries{floats(b.wide), n, width, width};
  engine::multiply(executor_, layer.cross_query, b.normed, queries);
  const bool strips = b.attended.format() != Activations::Format::kFloat;
  const MatrixView<float> out =
      strips ? MatrixView<float>{floats(b.heads), n, width, width} : b.attended.floats(n);
  const float scale = 1.0f / std::sqrt(float(dim));
  const auto attend = half_ ? executor_.attention.few_f16 : executor_.attention.few_f32;
  const std::ptrdiff_t padded = (frames_ + kKeyBlock - 1) / kKeyBlock * kKeyBlock;
  // Head by head, so that its keys and values stay in the cache for all rows.
  const int blocks = (n + engine::kFewQueries - 1) / engine::kFewQueries;
  executor_.pool.run(d.heads * blocks, [&](int task, int thread) {
    const int head = task / blocks, first = task % blocks * engine::kFewQueries;
    const int count = std::min(engine::kFewQueries, n - first);
    const engine::AttendMemory memory{
        .keys = cross_keys(index, head), .values = cross_values(index, head), .n = frames_};
    float* weights = executor_.scratch<float>(thread, engine::attention_weights(count, frames_));
    attend(queries.data + first * queries.stride + head * dim, queries.stride, count, memory, dim,
           scale, weights, out.data + first * out.stride + head * dim, out.stride);
    if (index < peak_layer_) return;
    for (int i = 0; i < count; ++i) {
      const int row = (first + i) * (d.layers - peak_layer_) + index - peak_layer_;
      peaks_[std::size_t(row * d.heads + head)] =
          attention_peak({weights + i * padded, std::size_t(frames_)});
    }
  });
  if (strips) engine::pack(executor_, out, b.attended);
}

void Decoder::feed_forward(const DecoderLayer& layer, Buffers& b, int n) noexcept {
  const int ffn = config_.decoder.ffn;
  const std::ptrdiff_t stride = 2 * ffn;
  const MatrixView<float> wide{floats(b.wide), n, 2 * ffn, stride};
  engine::multiply(executor_, layer.fc1, b.normed, wide);
  const bool strips = b.hidden.format() != Activations::Format::kFloat;
  const MatrixView<float> out =
      strips ? MatrixView<float>{wide.data, n, ffn, stride} : b.hidden.floats(n);
  constexpr int kRows = 8;  // of a task
  executor_.pool.run((n + kRows - 1) / kRows, [&](int task, int) {
    for (int i = task * kRows; i < std::min(n, (task + 1) * kRows); ++i) {
      const float* values = wide.data + i * stride;
      executor_.rows.swiglu(values, values + ffn, ffn, out.data + i * out.stride);
    }
  });
  if (strips) engine::pack(executor_, out, b.hidden);
}

void Decoder::project(Buffers& b, int row, int n) noexcept {
  const int dim = config_.decoder.dim;
  engine::normalize(executor_, weights_.norm,
                    {floats(b.residual) + std::ptrdiff_t(row) * dim, n, dim, dim}, b.last);
  engine::multiply(executor_, weights_.head, b.last,
                   MatrixView<float>{floats(logits_), n, config_.vocab_size, logits_stride_});
  operations_ += std::int64_t(n) * dim * config_.vocab_size;
}

std::size_t Decoder::bytes() const noexcept {
  const auto of = [](const Buffers& b) {
    return b.residual.size() + b.normed.bytes() + b.wide.size() + b.attended.bytes() +
           b.heads.size() + b.hidden.bytes() + b.last.bytes();
  };
  return cross_.size() + self_.size() + placed_.size() + adapted_.bytes() + memory_.bytes() +
         cross_kv_.size() + of(few_) + of(many_) + logits_.size() + biased_.size() +
         rope_.size() * sizeof(float) + peaks_.size() * sizeof(AttentionPeak) +
         (inputs_.size() + identity_.size()) * sizeof(int) + rows_.size() * sizeof(Row) +
         search_.bytes() + (logprobs_.size() + centres_.size()) * sizeof(float);
}

engine::ScratchNeed Decoder::scratch(const Config& config, int max_frames) {
  const Config::Decoder& d = config.decoder;
  const std::size_t weights = std::max(engine::attention_weights(engine::kFewQueries, max_frames),
                                       engine::attention_weights(1, d.max_tokens));
  return engine::linear_scratch({config.encoder.dim, d.dim, d.heads * d.head_dim, d.ffn}) |
         engine::ScratchNeed::of<float>(weights) |
         engine::ScratchNeed::of<std::uint16_t>(std::size_t(d.head_dim));
}

}  // namespace runnel::models::moonshine
