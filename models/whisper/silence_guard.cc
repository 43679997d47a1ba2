#include "models/whisper/silence_guard.h"

#include <cctype>
#include <cmath>
#include <utility>

namespace runnel::models::whisper {
namespace {

/// The loudest log10 mel power of what nobody hears: white noise at −76 dBFS. 16-bit quantisation
/// noise is at −9.5, the quietest speech recordings above −5.
constexpr float kInaudible = -7.0f;
/// Standard deviation of the frames' mean level in dB: of steady noise below 0.7, of speech above
/// 3, still above 1.5 in noise as loud as itself.
constexpr double kSteadyDb = 1.0;
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

}  // namespace

bool SilenceGuard::is_worth_decoding(MatrixView<const float> log_mel) const noexcept {
  float loudest = -1e9f;
  double sum = 0, sum_of_squares = 0;
  for (int r = 0; r < log_mel.rows; ++r) {
    float level = 0;
    for (const float x : log_mel.row(r)) {
      level += x;
      loudest = x > loudest ? x : loudest;
    }
    const double db = 10.0 * double(level) / log_mel.cols;
    sum += db;
    sum_of_squares += db * db;
  }
  if (loudest < kInaudible) return false;
  if (!with_detector_) return true;
  const double mean = sum / log_mel.rows;
  const double variance = sum_of_squares / log_mel.rows - mean * mean;
  return variance > kSteadyDb * kSteadyDb;
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
