// Where somebody speaks: speech detectors behind one door.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace runnel::models {

namespace silero {
class Weights;
}

/// Speech probability of each 512-sample block at 16 kHz (32 ms). Inheritance, since a detector is
/// chosen at run time; the second implementation is there from the start (Silero's network,
/// energy).
class SpeechDetector {
 public:
  static constexpr int kBlock = 512;  // samples at 16 kHz

  virtual ~SpeechDetector() = default;
  /// The probability, 0 to 1, that the next kBlock samples are speech. Real-time safe.
  /// Samples that no state survives (NaN, overflow) give 0 and a reset.
  virtual float step(std::span<const float, kBlock> samples) noexcept = 0;
  virtual void reset() noexcept = 0;
};

/// The default: Silero's network with weights trained here, inside the program; shared by all
/// streams (assets/models/vad-runnel/MODEL.md). It hears speech 64 dB below full scale, and on any
/// offset, as it hears loud speech (models/speech_conditioner.h).
std::unique_ptr<SpeechDetector> make_default_detector();
/// Tells speech by level alone, against a noise floor that it follows. No weights. Noise that sets
/// in counts as speech for up to 3 s, until it has become the floor; a stream that begins with
/// speech is noticed at its first dip. Nothing below −64 dBFS is speech.
std::unique_ptr<SpeechDetector> make_energy_detector();
/// Silero VAD from a safetensors file or a folder with one: the network as it is, without
/// conditioning. Throws std::runtime_error.
std::unique_ptr<SpeechDetector> load_silero_detector(const std::filesystem::path& path);
/// One more stream on loaded weights (models/silero/network.h: silero::load).
std::unique_ptr<SpeechDetector> make_silero_detector(
    std::shared_ptr<const silero::Weights> weights);

inline constexpr std::string_view kDefaultDetector = "vad-runnel";
inline constexpr std::string_view kEnergyDetector = "energy";
/// kDefaultDetector (or nothing), kEnergyDetector, or the path of Silero's weights, which hear what
/// the default one does: neither level nor offset count. Throws
/// std::runtime_error: what was looked for, what there is.
std::unique_ptr<SpeechDetector> make_detector(const std::string& name_or_path);

/// Silero's defaults (utils_vad.py).
struct SpeechSegmenterOptions {
  float threshold = 0.5f;  // to start; below threshold − 0.15 ends
  int min_speech_ms = 250;
  int min_silence_ms = 100;
  int padding_ms = 30;  // kept on either side
  double max_speech_s = 1e9;
};

/// A stretch of speech, in samples since the start; end is exclusive.
struct SpeechSpan {
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

/// Turns block probabilities into spans as they are final: a small state machine, real-time safe.
/// Spans rise and never overlap. Where padding would need audio that is not there yet, or that the
/// span before has, it is cut short.
class SpeechSegmenter {
 public:
  /// Throws std::invalid_argument unless the threshold is in (0, 1] and no duration is negative.
  explicit SpeechSegmenter(const SpeechSegmenterOptions& options);

  /// One block's probability. True if a span became final: it is in `span`.
  bool push(float probability, SpeechSpan& span) noexcept;
  /// The audio ended after `samples` samples. True if a span was open that is long enough.
  bool finish(std::int64_t samples, SpeechSpan& span) noexcept;
  /// Inside (perhaps unconfirmed) speech now, and since when.
  bool speaking() const noexcept;
  std::int64_t speech_begin() const noexcept;  // padding included; −1 if nobody speaks
  /// Samples before this are settled: no later span begins before it.
  std::int64_t settled() const noexcept;
  void reset() noexcept;

 private:
  void close(std::int64_t end, std::int64_t limit, SpeechSpan& span) noexcept;

  SpeechSegmenterOptions options_;
  std::int64_t padding_, min_speech_, min_silence_, max_speech_;  // samples
  struct State {
    std::int64_t at = 0;        // samples so far
    std::int64_t begin = -1;    // of the open span; −1: none
    std::int64_t silence = -1;  // where the open span may end; −1: it is loud
    std::int64_t pause = -1;    // where a span that gets too long is cut; −1: nowhere yet
    std::int64_t resume = -1;   // where speech went on after `pause`; −1: not yet
    std::int64_t last_end = 0;  // of the span before, padding included
  } state_;
};

}  // namespace runnel::models
