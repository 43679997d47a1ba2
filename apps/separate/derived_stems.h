// Stems that are sums of a separator's, or its input without them.
#pragma once

#include <memory>
#include <vector>

#include "apps/separate/stem_choice.h"
#include "models/stem_separator.h"

namespace runnel::apps {

/// Hands out `stems` in place of the inner separator's own. For what is left of the input it keeps
/// as much of it as the inner separator delays, so memory is fixed.
class DerivedStems final : public models::StemSeparator {
 public:
  DerivedStems(std::unique_ptr<models::StemSeparator> inner, std::vector<DerivedStem> stems);

  void push(const AudioChunk& chunk) noexcept override;
  bool pop(Stems& stems) noexcept override;
  void flush() noexcept override { inner_->flush(); }
  void reset() noexcept override;

  int samples_wanted() const noexcept override { return inner_->samples_wanted(); }
  std::int64_t latency_samples() const noexcept override { return inner_->latency_samples(); }
  const models::SeparatorFormat& format() const noexcept override { return inner_->format(); }
  int stems() const noexcept override { return int(stems_.size()); }
  int max_output() const noexcept override { return inner_->max_output(); }
  std::size_t state_bytes() const noexcept override;
  std::int64_t steps() const noexcept override { return inner_->steps(); }

 private:
  void remember(const AudioChunk& chunk) noexcept;
  void derive(const DerivedStem& stem, const Stems& from, int channel, float* out) const noexcept;

  const std::unique_ptr<models::StemSeparator> inner_;
  const std::vector<DerivedStem> stems_;
  std::vector<float> out_;  // [stems, channels, max_output]
  // The newest input, sample i at i mod the capacity; empty if no stem needs it.
  int capacity_ = 0;
  std::vector<float> input_;    // [channels, capacity]
  std::int64_t input_end_ = 0;  // one past the newest sample
};

}  // namespace runnel::apps
