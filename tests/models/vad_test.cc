#include "models/vad.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/models/test_audio.h"
#include "tests/rt/realtime_guard.h"

namespace runnel::models {

bool operator==(const SpeechSpan& a, const SpeechSpan& b) {
  return a.begin == b.begin && a.end == b.end;
}
void PrintTo(const SpeechSpan& span, std::ostream* out) {
  *out << "[" << span.begin << ", " << span.end << ")";
}

namespace {

using testing::read_mono;

constexpr int kBlock = SpeechDetector::kBlock;

double power_of(const float* samples, int n) {
  double sum = 0;
  for (int i = 0; i < n; ++i) sum += double(samples[i]) * samples[i];
  return sum / n;
}

/// Normal noise of the given RMS; pink: −10 dB a decade, by a cascade of poles and zeros.
std::vector<float> steady_noise(int n, bool pink, double dbfs, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(0, 1);
  std::vector<float> samples(n);
  std::vector<double> before(8);
  const auto sample = [&] {
    double x = normal(random);
    if (!pink) return x;
    // A pole at each 4·10^k Hz and a zero half a decade above: from 4 Hz to 8 kHz.
    double pole_hz = 4.0;
    for (int stage = 0; stage < 4; ++stage, pole_hz *= 10) {
      const double pole = std::exp(-2 * M_PI * pole_hz / 16000);
      const double zero = std::exp(-2 * M_PI * pole_hz * std::sqrt(10.0) / 16000);
      if (pole_hz > 4000) break;
      const double inner = x + pole * before[2 * stage];
      x = inner - zero * before[2 * stage];
      before[2 * stage] = inner;
    }
    return x;
  };
  for (int i = 0; i < 16000; ++i) sample();  // the slow poles settle
  for (float& value : samples) value = float(sample());
  const double gain = std::pow(10, dbfs / 20) / std::sqrt(power_of(samples.data(), n));
  for (float& value : samples) value = float(value * gain);
  return samples;
}

std::vector<float> probabilities(SpeechDetector& detector, const std::vector<float>& samples) {
  std::vector<float> result;
  for (std::size_t at = 0; at + kBlock <= samples.size(); at += kBlock) {
    result.push_back(detector.step(std::span<const float, kBlock>(samples.data() + at, kBlock)));
  }
  return result;
}

TEST(EnergyDetector, HearsNoSpeechInSilenceOrInNoiseOfAnyConstantLevel) {
  const auto detector = make_energy_detector();
  for (const float p : probabilities(*detector, std::vector<float>(160000))) EXPECT_LT(p, 0.5f);
  for (const bool pink : {false, true}) {
    for (const double dbfs : {-80.0, -60.0, -45.0, -30.0, -20.0, -10.0}) {
      detector->reset();
      float most = 0;
      const auto seed = unsigned(100 - dbfs);
      for (const float p : probabilities(*detector, steady_noise(30 * 16000, pink, dbfs, seed))) {
        most = std::max(most, p);
      }
      EXPECT_LT(most, 0.5f) << (pink ? "pink " : "white ") << dbfs;
    }
  }
}

TEST(EnergyDetector, ANewNoiseBecomesTheFloor) {
  const auto detector = make_energy_detector();
  auto samples = steady_noise(3 * 16000, false, -60, 1);
  const auto louder = steady_noise(6 * 16000, false, -30, 2);
  samples.insert(samples.end(), louder.begin(), louder.end());
  const auto found = probabilities(*detector, samples);
  EXPECT_GT(found[3 * 16000 / kBlock + 5], 0.5f);
  for (std::size_t i = 6.2 * 16000 / kBlock; i < found.size(); ++i) EXPECT_LT(found[i], 0.5f) << i;
}

/// Of the blocks whose clean level is near the speech's: the share that the detector hears; of
/// those that hold nothing: the share that it does not.
void expect_hears(const std::string& path, bool pink, double snr_db, double gain_db) {
  auto clean = read_mono(path);
  const float gain = float(std::pow(10, gain_db / 20));
  for (float& sample : clean) sample *= gain;
  const int lead = 32 * kBlock;  // of noise alone
  clean.insert(clean.begin(), lead, 0.0f);
  clean.resize(clean.size() + lead);
  std::vector<double> levels;
  for (std::size_t at = 0; at + kBlock <= clean.size(); at += kBlock) {
    levels.push_back(power_of(clean.data() + at, kBlock));
  }
  const double loudest = *std::max_element(levels.begin(), levels.end());
  double active = 0;  // mean over blocks within 30 dB of the loudest
  int count = 0;
  for (const double level : levels) {
    if (level > 1e-3 * loudest) {
      active += level;
      ++count;
    }
  }
  active /= count;
  const auto noise = steady_noise(int(clean.size()), pink, 10 * std::log10(active) - snr_db, 5);
  for (std::size_t i = 0; i < clean.size(); ++i) clean[i] += noise[i];
  const auto detector = make_energy_detector();
  const auto found = probabilities(*detector, clean);
  int speech = 0, heard = 0, pauses = 0, quiet = 0;
  for (std::size_t i = 1; i < found.size(); ++i) {
    if (levels[i] > 0.4 * active) {
      ++speech;
      heard += found[i] > 0.5f;
    } else if (std::max(levels[i], levels[i - 1]) < 1e-3 * active &&
               (i < 30 || i + 28 > found.size())) {
      ++pauses;
      quiet += found[i] < 0.5f;
    }
  }
  ASSERT_GT(speech, 20);
  ASSERT_GT(pauses, 20);
  EXPECT_GE(heard, 0.9 * speech) << path << (pink ? " pink " : " white ") << snr_db << " dB";
  EXPECT_EQ(quiet, pauses) << path << (pink ? " pink " : " white ") << snr_db << " dB";
}

TEST(EnergyDetector, HearsSpeechTenDecibelsOverNoise) {
  for (const bool pink : {false, true}) {
    for (const double snr : {10.0, 20.0}) {
      for (const double gain : {0.0, -25.0}) {
        expect_hears("tests/fixtures/gtcrn/clean.wav", pink, snr, gain);
      }
    }
  }
}

TEST(EnergyDetector, HearsOtherVoices) {
  std::vector<std::string> recordings = {"tests/goldens/whisper-multilingual/input.wav"};
  for (const char* shared : {"../shared/audio/jfk.wav", "../shared/audio/beckett.wav"}) {
    if (std::filesystem::exists(shared)) recordings.emplace_back(shared);
  }
  for (const std::string& path : recordings) {
    for (const bool pink : {false, true}) expect_hears(path, pink, 10, 0);
  }
}

TEST(EnergyDetector, SurvivesWhatIsNoNumberAndIsRealTimeSafe) {
  const auto detector = make_energy_detector();
  const auto samples = steady_noise(20 * kBlock, false, -30, 3);
  const auto expected = probabilities(*detector, samples);
  std::vector<float> bad(kBlock, std::numeric_limits<float>::quiet_NaN());
  EXPECT_EQ(probabilities(*detector, bad), std::vector<float>{0.0f});
  EXPECT_EQ(probabilities(*detector, samples), expected);
  if (!rt::testing::RealtimeGuard::available()) return;
  EXPECT_EQ(rt::testing::guarded([&] {
              detector->step(std::span<const float, kBlock>(samples.data(), kBlock));
              detector->reset();
            }),
            "");
}

std::vector<SpeechSpan> spans_of(const std::vector<float>& probabilities, std::int64_t samples,
                                 const SpeechSegmenterOptions& options = {}) {
  SpeechSegmenter segmenter(options);
  std::vector<SpeechSpan> spans;
  SpeechSpan span;
  for (const float p : probabilities) {
    const std::int64_t settled = segmenter.settled();
    const bool final = segmenter.push(p, span);
    if (final) spans.push_back(span);
    EXPECT_GE(segmenter.settled(), std::max<std::int64_t>(settled, 0));
    if (final) {
      EXPECT_GE(span.begin, settled);
    }
    if (segmenter.speaking()) {
      EXPECT_GE(segmenter.speech_begin(), segmenter.settled());
    }
  }
  if (segmenter.finish(samples, span)) spans.push_back(span);
  for (std::size_t i = 0; i < spans.size(); ++i) {
    EXPECT_LT(spans[i].begin, spans[i].end);
    if (i > 0) {
      EXPECT_GE(spans[i].begin, spans[i - 1].end);
    }
  }
  return spans;
}

std::vector<float> pattern(const std::string& loudness) {  // '#' loud, '.' quiet, '-' in between
  std::vector<float> result;
  for (const char c : loudness) result.push_back(c == '#' ? 0.9f : c == '.' ? 0.1f : 0.4f);
  return result;
}

/// Silero's offline rule over a whole recording, in two passes: spans, then padding.
std::vector<SpeechSpan> offline_spans(const std::vector<float>& probabilities,
                                      std::int64_t samples) {
  std::vector<SpeechSpan> spans;
  std::int64_t begin = -1, quiet_since = -1;
  for (std::size_t i = 0; i < probabilities.size(); ++i) {
    const auto now = std::int64_t(i) * 512;
    if (probabilities[i] >= 0.5f) {
      quiet_since = -1;
      if (begin < 0) begin = now;
    } else if (probabilities[i] < 0.35f && begin >= 0) {
      if (quiet_since < 0) quiet_since = now;
      if (now - quiet_since < 1600) continue;
      if (quiet_since - begin > 4000) spans.push_back({begin, quiet_since});
      begin = quiet_since = -1;
    }
  }
  if (begin >= 0 && samples - begin > 4000) spans.push_back({begin, samples});
  for (auto& span : spans) {
    span = {std::max<std::int64_t>(span.begin - 480, 0), std::min(span.end + 480, samples)};
  }
  return spans;
}

TEST(SpeechSegmenter, EqualsTheOfflineRuleOnAnyProbabilities) {
  std::size_t count = 0;
  for (unsigned seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    std::vector<float> probabilities;
    float p = 0.2f;
    for (int i = 0; i < 300; ++i) {
      p += 0.3f * (float(random() % 1000) / 1000.0f - 0.5f);
      p = std::clamp(p, 0.0f, 1.0f);
      probabilities.push_back(p);
    }
    const std::int64_t samples = 300 * 512 - std::int64_t(random() % 512);
    const auto expected = offline_spans(probabilities, samples);
    EXPECT_EQ(spans_of(probabilities, samples), expected) << seed;
    count += expected.size();
  }
  EXPECT_GT(count, 400u);
}

TEST(SpeechSegmenter, PadsAndBridgesShortSilence) {
  // 100 ms of silence: the fourth quiet block begins 1536 samples after the first, the fifth ends
  // it.
  EXPECT_EQ(spans_of(pattern("....##########....####......"), 28 * 512),
            (std::vector<SpeechSpan>{{4 * 512 - 480, 22 * 512 + 480}}));
  EXPECT_EQ(spans_of(pattern("##########.....##########"), 25 * 512),
            (std::vector<SpeechSpan>{{0, 10 * 512 + 480}, {15 * 512 - 480, 25 * 512}}));
  EXPECT_EQ(spans_of(pattern("....-----..."), 12 * 512), std::vector<SpeechSpan>{});
  EXPECT_EQ(spans_of(pattern("##########-----------"), 21 * 512),
            (std::vector<SpeechSpan>{{0, 21 * 512}}));  // in between: nothing ends
}

TEST(SpeechSegmenter, DropsWhatIsTooShort) {
  EXPECT_EQ(spans_of(pattern("...#######......"), 16 * 512), std::vector<SpeechSpan>{});  // 224 ms
  EXPECT_EQ(spans_of(pattern("...########......"), 17 * 512).size(), 1u);                 // 256 ms
  EXPECT_EQ(spans_of(pattern("#######"), 7 * 512), std::vector<SpeechSpan>{});
}

TEST(SpeechSegmenter, CutsLongSpeechAtItsLastPauseOrAtOnce) {
  SpeechSegmenterOptions options{.min_silence_ms = 500, .padding_ms = 0, .max_speech_s = 1.0};
  // Longest: 15488 samples, so the cut comes with block 31. The pause is blocks 12 to 16.
  EXPECT_EQ(
      spans_of(pattern(std::string(12, '#') + "....." + std::string(23, '#')), 40 * 512, options),
      (std::vector<SpeechSpan>{{0, 12 * 512}, {17 * 512, 40 * 512}}));
  EXPECT_EQ(spans_of(pattern(std::string(70, '#')), 70 * 512, options),
            (std::vector<SpeechSpan>{{0, 31 * 512}, {31 * 512, 62 * 512}, {62 * 512, 70 * 512}}));
}

TEST(SpeechSegmenter, WidePaddingMeetsButDoesNotOverlap) {
  const SpeechSegmenterOptions options{.padding_ms = 400};
  const auto spans = spans_of(pattern("..........##########.......##########"), 37 * 512, options);
  EXPECT_EQ(spans, (std::vector<SpeechSpan>{{0, 25 * 512}, {25 * 512, 37 * 512}}));
}

TEST(SpeechSegmenter, RefusesOptionsThatMakeNoSense) {
  EXPECT_THROW(SpeechSegmenter({.threshold = 0.0f}), std::invalid_argument);
  EXPECT_THROW(SpeechSegmenter({.padding_ms = -1}), std::invalid_argument);
  EXPECT_THROW(SpeechSegmenter({.max_speech_s = 0}), std::invalid_argument);
}

}  // namespace
}  // namespace runnel::models
