// Where the separated stems go: one sink each, or nowhere.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/view.h"
#include "rt/sink.h"

namespace runnel::apps {

/// What becomes of samples beyond full scale.
enum class ClipMode {
  kNone,     // floats keep them, integers are limited
  kClamp,    // limited, floats too
  kRescale,  // the whole stem is turned down: see rt/rescaling_sink.h
};

/// How samples lie in the output.
struct OutputFormat {
  enum class Container { kWav, kFlac, kMp3 };
  Container container = Container::kWav;
  rt::SampleFormat samples = rt::SampleFormat::kInt16;
  int mp3_kbps = 320;
  ClipMode clip = ClipMode::kNone;

  std::string extension() const {
    return container == Container::kFlac ? "flac" : container == Container::kMp3 ? "mp3" : "wav";
  }
};

/// Interleaves stems, known by their number in the model's order, into their sinks. A sink that
/// fails is told of at once; its stem ends there, and the others go on. One thread.
class StemWriter {
 public:
  /// Gets what the sink threw, on the thread that writes.
  using OnFailure = std::function<void(const std::string&)>;

  StemWriter(int stems, int channels, bool clamp = false, OnFailure on_failure = {})
      : channels_(channels),
        clamp_(clamp),
        on_failure_(std::move(on_failure)),
        sinks_(std::size_t(stems)) {}

  /// A stem without a sink is thrown away.
  void add(int stem, std::unique_ptr<rt::AudioSink> sink);

  int stems() const noexcept { return int(sinks_.size()); }
  int channels() const noexcept { return channels_; }
  std::int64_t frames() const noexcept { return frames_; }

  /// False once every sink has failed: what is written then goes nowhere.
  bool alive() const noexcept;
  void write(const Stems& stems);
  /// Frames of [stems, channels], interleaved.
  void write_interleaved(const float* interleaved, int frames);
  void write_silence(std::int64_t frames);
  /// Finishes every sink, as far as it goes.
  void finish();
  /// Samples that integer formats could not hold.
  std::int64_t clipped_samples() const;

 private:
  struct Sink {
    std::unique_ptr<rt::AudioSink> sink;  // null: thrown away
    bool failed = false;

    bool takes_audio() const noexcept { return sink && !failed; }
  };

  void put(Sink& to, int frames);
  void fail(Sink& sink, const std::exception& error);

  const int channels_;
  const bool clamp_;
  const OnFailure on_failure_;
  std::vector<Sink> sinks_;  // of each stem
  std::vector<float> interleaved_;
  std::int64_t frames_ = 0;
};

}  // namespace runnel::apps
