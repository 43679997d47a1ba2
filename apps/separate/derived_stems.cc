#include "apps/separate/derived_stems.h"

#include <algorithm>

namespace runnel::apps {

DerivedStems::DerivedStems(std::unique_ptr<models::StemSeparator> inner,
                           std::vector<DerivedStem> stems)
    : inner_(std::move(inner)),
      stems_(std::move(stems)),
      out_(stems_.size() * std::size_t(format().channels) * std::size_t(max_output())) {
  const bool keeps_input = std::any_of(
      stems_.begin(), stems_.end(), [](const DerivedStem& stem) { return stem.is_rest_of_input; });
  if (!keeps_input) return;
  capacity_ = int(latency_samples()) + max_output() + format().max_chunk;
  input_.resize(std::size_t(format().channels) * std::size_t(capacity_));
}

/// What was lost before the chunk is silence.
void DerivedStems::remember(const AudioChunk& chunk) noexcept {
  const std::int64_t gap = std::clamp<std::int64_t>(chunk.start.index - input_end_, 0, capacity_);
  for (int c = 0; c < chunk.channels(); ++c) {
    float* row = input_.data() + std::ptrdiff_t(c) * capacity_;
    for (std::int64_t i = chunk.start.index - gap; i < chunk.start.index; ++i)
      row[i % capacity_] = 0;
    const auto samples = chunk.samples.row(c);
    for (int i = 0; i < chunk.frames(); ++i) {
      row[(chunk.start.index + i) % capacity_] = samples[std::size_t(i)];
    }
  }
  input_end_ = chunk.start.index + chunk.frames();
}

void DerivedStems::push(const AudioChunk& chunk) noexcept {
  if (capacity_ > 0) remember(chunk);
  inner_->push(chunk);
}

void DerivedStems::derive(const DerivedStem& stem, const Stems& from, int channel,
                          float* out) const noexcept {
  const int frames = from.frames();
  std::fill_n(out, frames, 0.0F);
  for (int s = 0; s < from.count(); ++s) {
    if ((stem.of >> s & 1) == 0) continue;
    const float* samples = from.stem(s).samples.row(channel).data();
    for (int i = 0; i < frames; ++i) out[i] += samples[i];
  }
  if (!stem.is_rest_of_input) return;
  const float* row = input_.data() + std::ptrdiff_t(channel) * capacity_;
  for (int i = 0; i < frames; ++i) {
    const std::int64_t index = from.start.index + i;
    const bool is_held = index >= 0 && index < input_end_ && index >= input_end_ - capacity_;
    out[i] = (is_held ? row[index % capacity_] : 0.0F) - out[i];
  }
}

bool DerivedStems::pop(Stems& stems) noexcept {
  Stems from;
  if (!inner_->pop(from)) return false;
  const std::ptrdiff_t stride = max_output();
  float* out = out_.data();
  for (const DerivedStem& stem : stems_) {
    for (int c = 0; c < from.channels; ++c, out += stride) derive(stem, from, c, out);
  }
  stems = {{out_.data(), int(stems_.size()) * from.channels, from.frames(), stride},
           from.channels,
           from.start};
  return true;
}

void DerivedStems::reset() noexcept {
  inner_->reset();
  std::fill(input_.begin(), input_.end(), 0.0F);
  input_end_ = 0;
}

std::size_t DerivedStems::state_bytes() const noexcept {
  return inner_->state_bytes() + (out_.size() + input_.size()) * sizeof(float);
}

}  // namespace runnel::apps
