#include "models/whisper/silence_guard.h"

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

namespace runnel::models::whisper {
namespace {

/// The loudest log10 mel power of what nobody hears: white noise at −76 dBFS. 16-bit quantisation
/// noise is at −9.5, the quietest speech recordings above −5.
constexpr float kInaudible = -7.0f;
/// Frames this far below the loud ones are pauses or padding, not the sound.
constexpr double kPauseDb = 12.0;
/// From the 20th to the 90th percentile of the sound's level: about 1 dB for steady noise of any
/// colour, above 5 dB for speech.
constexpr double kSteadyDb = 2.0;
/// Of the likeliest quarter of a window: Silero gives speech above 0.95.
constexpr double kDoubtfulSpeech = 0.75;

/// Only what is said: without case, spaces and ASCII punctuation.
std::string essence(std::string_view text) {
  std::string kept;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x80) {
      kept += c;
    } else if (std::isalnum(byte)) {
      kept += char(std::tolower(byte));
    }
  }
  return kept;
}

/// The value that the fraction `below` of them don't exceed; reorders them.
double percentile(std::span<double> values, double below) {
  const auto at = values.begin() + std::ptrdiff_t(below * double(values.size() - 1));
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

}  // namespace

bool SilenceGuard::is_worth_decoding(MatrixView<const float> log_mel) const {
  float loudest = -1e9f;
  std::vector<double> levels;  // of the frames, dB
  for (int r = 0; r < log_mel.rows; ++r) {
    double level = 0;
    for (const float x : log_mel.row(r)) {
      level += x;
      loudest = std::max(loudest, x);
    }
    levels.push_back(10.0 * level / log_mel.cols);
  }
  if (loudest < kInaudible) return false;
  if (!with_detector_) return true;
  const double loud = percentile(levels, 0.95);
  std::erase_if(levels, [&](double level) { return level < loud - kPauseDb; });
  return percentile(levels, 0.9) - percentile(levels, 0.2) > kSteadyDb;
}

bool SilenceGuard::accepts(const GuardedWindow& window) {
  std::string said = essence(window.text);
  const bool repeats = !said.empty() && said == previous_;
  previous_ = std::move(said);
  const Quality& quality = window.quality;
  if (thresholds_.is_silence(quality)) return false;
  if (!with_detector_ || window.speech_probability >= kDoubtfulSpeech) return true;
  const bool silent = thresholds_.no_speech && quality.no_speech_prob > *thresholds_.no_speech;
  const bool unsure = thresholds_.logprob && quality.avg_logprob < *thresholds_.logprob;
  return !silent && !unsure && !window.failed && !repeats;
}

}  // namespace runnel::models::whisper
