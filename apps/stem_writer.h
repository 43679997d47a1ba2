// Where the separated stems go: one sink each, or nowhere.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/view.h"
#include "rt/sink.h"

namespace runnel::apps {

enum class Stem { kSpeech, kBackground };
inline constexpr std::array kStems = {Stem::kSpeech, Stem::kBackground};

/// "speech", "background"
std::string_view name(Stem stem);
/// Throws UsageError for another word.
Stem parse_stem(const std::string& word);

/// How samples lie in the output.
struct OutputFormat {
  rt::SampleFormat samples = rt::SampleFormat::kInt16;
  bool flac = false;
  bool clamp = false;  // limits float samples to full scale, as integers are anyway

  std::string extension() const { return flac ? "flac" : "wav"; }
};

/// Interleaves stems into their sinks. One thread.
class StemWriter {
 public:
  explicit StemWriter(int channels, bool clamp = false) : channels_(channels), clamp_(clamp) {}

  /// A stem without a sink is thrown away.
  void add(Stem stem, std::unique_ptr<rt::AudioSink> sink);

  int channels() const noexcept { return channels_; }
  std::int64_t frames() const noexcept { return frames_; }

  /// Throws what the sinks throw.
  void write(const Stems& stems);
  /// Frames of [speech channels, background channels], interleaved.
  void write_pairs(const float* interleaved, int frames);
  void write_silence(std::int64_t frames);
  /// Finishes every sink, even if one fails; then rethrows the first failure.
  void finish();
  /// Samples that integer formats could not hold.
  std::int64_t clipped_samples() const;

 private:
  void put(std::size_t stem, int frames);

  const int channels_;
  const bool clamp_;
  std::array<std::unique_ptr<rt::AudioSink>, 2> sinks_;
  std::vector<float> interleaved_;
  std::int64_t frames_ = 0;
};

}  // namespace runnel::apps
