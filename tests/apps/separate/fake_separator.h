// A separation without a model: stem s is the input times s + 1, in bursts of a hop.
#pragma once

#include <algorithm>
#include <vector>

#include "models/stem_separator.h"

namespace runnel::apps::testing {

class FakeSeparator : public models::StemSeparator {
 public:
  FakeSeparator(const models::SeparatorFormat& format, int stems, int hop)
      : format_(format),
        stems_(stems),
        hop_(hop),
        waiting_(std::size_t(format.channels)),
        out_(std::size_t(stems * format.channels * hop)) {}

  void push(const AudioChunk& chunk) noexcept override {
    if (waiting_[0].empty()) start_ = chunk.start;
    for (int c = 0; c < format_.channels; ++c) {
      const auto row = chunk.samples.row(c);
      waiting_[std::size_t(c)].insert(waiting_[std::size_t(c)].end(), row.begin(), row.end());
    }
  }
  bool pop(Stems& stems) noexcept override {
    const int frames = std::min(hop_, int(waiting_[0].size()));
    if (frames == 0 || (frames < hop_ && !flushed_)) return false;
    for (int s = 0; s < stems_; ++s) {
      for (int c = 0; c < format_.channels; ++c) {
        for (int i = 0; i < frames; ++i) {
          out_[std::size_t((s * format_.channels + c) * hop_ + i)] =
              float(s + 1) * waiting_[std::size_t(c)][std::size_t(i)];
        }
      }
    }
    for (auto& row : waiting_) row.erase(row.begin(), row.begin() + frames);
    stems = {{out_.data(), stems_ * format_.channels, frames, hop_}, format_.channels, start_};
    start_.index += frames;
    ++steps_;
    return true;
  }
  void flush() noexcept override { flushed_ = true; }
  void reset() noexcept override {
    for (auto& row : waiting_) row.clear();
    flushed_ = false;
    steps_ = 0;
  }
  std::int64_t latency_samples() const noexcept override { return hop_ - 1; }
  const models::SeparatorFormat& format() const noexcept override { return format_; }
  int stems() const noexcept override { return stems_; }
  int max_output() const noexcept override { return hop_; }
  std::size_t state_bytes() const noexcept override { return out_.size() * sizeof(float); }
  std::int64_t steps() const noexcept override { return steps_; }

 private:
  const models::SeparatorFormat format_;
  const int stems_;
  const int hop_;
  std::vector<std::vector<float>> waiting_;  // [channels]
  std::vector<float> out_;                   // [stems, channels, hop]
  SampleTime start_;
  bool flushed_ = false;
  std::int64_t steps_ = 0;
};

inline models::SeparatorFactory fake_separators(int stems, int hop) {
  return [stems, hop](const models::SeparatorFormat& format) {
    return std::make_unique<FakeSeparator>(format, stems, hop);
  };
}

}  // namespace runnel::apps::testing
