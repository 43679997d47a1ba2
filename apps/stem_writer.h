// Where the separated stems go: one sink each, or nowhere.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/view.h"
#include "rt/sink.h"

namespace runnel::apps {

/// How samples lie in the output.
struct OutputFormat {
  rt::SampleFormat samples = rt::SampleFormat::kInt16;
  bool flac = false;
  bool clamp = false;  // limits float samples to full scale, as integers are anyway

  std::string extension() const { return flac ? "flac" : "wav"; }
};

/// Interleaves stems, known by their number in the model's order, into their sinks. One thread.
class StemWriter {
 public:
  StemWriter(int stems, int channels, bool clamp = false)
      : channels_(channels), clamp_(clamp), sinks_(std::size_t(stems)) {}

  /// A stem without a sink is thrown away.
  void add(int stem, std::unique_ptr<rt::AudioSink> sink);

  int stems() const noexcept { return int(sinks_.size()); }
  int channels() const noexcept { return channels_; }
  std::int64_t frames() const noexcept { return frames_; }

  /// Throws what the sinks throw.
  void write(const Stems& stems);
  /// Frames of [stems, channels], interleaved.
  void write_interleaved(const float* interleaved, int frames);
  void write_silence(std::int64_t frames);
  /// Finishes every sink, even if one fails; then rethrows the first failure.
  void finish();
  /// Samples that integer formats could not hold.
  std::int64_t clipped_samples() const;

 private:
  void put(std::size_t stem, int frames);

  const int channels_;
  const bool clamp_;
  std::vector<std::unique_ptr<rt::AudioSink>> sinks_;  // of each stem; null: thrown away
  std::vector<float> interleaved_;
  std::int64_t frames_ = 0;
};

}  // namespace runnel::apps
