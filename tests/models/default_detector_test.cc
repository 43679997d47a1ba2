#include <gtest/gtest.h>
#include <sndfile.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "dsp/resampler.h"
#include "models/catalog.h"
#include "models/vad.h"
#include "tests/models/test_audio.h"
#include "tests/rt/realtime_guard.h"

namespace runnel::models {
namespace {

namespace fs = std::filesystem;
using testing::read_mono;

constexpr int kBlock = SpeechDetector::kBlock;
constexpr int kRate = 16000;

struct Clip {
  std::string file;
  std::vector<float> samples;
  std::string speech;  // '0' or '1' for each block
  std::vector<double> probabilities;
};

/// Held-out voices in held-out noises at 5 dB (tools/train/vad/fixtures.py).
std::vector<Clip> clips() {
  const std::string folder = "tests/fixtures/vad/";
  const auto json = nlohmann::json::parse(std::ifstream(folder + "expected.json"));
  std::vector<Clip> result;
  for (const auto& clip : json.at("clips")) {
    const std::string file = clip.at("file");
    result.push_back({.file = file,
                      .samples = read_mono(folder + file),
                      .speech = clip.at("speech"),
                      .probabilities = clip.at("probabilities")});
  }
  return result;
}

std::vector<float> probabilities(SpeechDetector& detector, const std::vector<float>& samples) {
  std::vector<float> result;
  for (std::size_t at = 0; at + kBlock <= samples.size(); at += kBlock) {
    result.push_back(detector.step(std::span<const float, kBlock>(samples.data() + at, kBlock)));
  }
  return result;
}

/// Stretches of speech as the gate before the recogniser counts them: longer than 128 ms.
int spans_of(const std::vector<float>& found) {
  SpeechSegmenter segmenter({.min_speech_ms = 128});
  SpeechSpan span;
  int count = 0;
  for (const float p : found) count += segmenter.push(p, span);
  return count + segmenter.finish(std::int64_t(found.size()) * kBlock, span);
}

double share_of_speech(const std::vector<float>& found) {
  return double(std::count_if(found.begin(), found.end(), [](float p) { return p >= 0.5f; })) /
         double(found.size());
}

std::vector<float> scaled(std::vector<float> samples, double db) {
  for (float& sample : samples) sample = float(sample * std::pow(10, db / 20));
  return samples;
}

/// White, or with a pole at 50 Hz: rumble.
std::vector<float> steady_noise(int n, bool rumble, double dbfs, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(0, 1);
  const double pole = rumble ? std::exp(-2 * M_PI * 50 / kRate) : 0.0;
  const double gain = std::pow(10, dbfs / 20) * std::sqrt(1 - pole * pole);
  std::vector<float> samples;
  double last = 0;
  for (int i = 0; i < n; ++i) {
    last = pole * last + gain * normal(random);
    samples.push_back(float(last));
  }
  return samples;
}

TEST(DefaultDetector, EqualsTheTrainedNetwork) {
  for (const Clip& clip : clips()) {
    const auto detector = load_silero_detector("assets/models/vad-runnel");
    const auto found = probabilities(*detector, clip.samples);
    ASSERT_EQ(found.size(), clip.probabilities.size()) << clip.file;
    detector->reset();
    EXPECT_EQ(probabilities(*detector, clip.samples), found) << clip.file;
    for (std::size_t i = 0; i < found.size(); ++i) {
      ASSERT_NEAR(found[i], clip.probabilities[i], 1e-4) << clip.file << ' ' << i;
    }
  }
}

TEST(DefaultDetector, FindsUnknownVoicesInUnknownNoisesAtFiveDecibels) {
  for (const double gain_db : {-10.0, 0.0, 25.0}) {
    int hits = 0, found_speech = 0, speech = 0;
    for (const Clip& clip : clips()) {
      const auto found = probabilities(*make_default_detector(), scaled(clip.samples, gain_db));
      for (std::size_t i = 0; i < found.size(); ++i) {
        const bool is_speech = clip.speech.at(i) == '1', heard = found[i] >= 0.5f;
        hits += is_speech && heard;
        found_speech += heard;
        speech += is_speech;
      }
    }
    const double f1 = 2.0 * hits / (found_speech + speech);
    RecordProperty("f1_at_" + std::to_string(int(gain_db)) + "_dB", std::to_string(f1));
    EXPECT_GE(f1, 0.95) << gain_db << " dB";
  }
}

std::vector<float> raised(std::vector<float> samples, float offset) {
  for (float& sample : samples) sample += offset;
  return samples;
}

/// F1 of the blocks that `found` calls speech, if those that `expected` calls so are.
double agreement(const std::vector<float>& expected, const std::vector<float>& found) {
  int both = 0, all = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const bool a = expected.at(i) >= 0.5f, b = found[i] >= 0.5f;
    both += a && b;
    all += a + b;
  }
  return all > 0 ? 2.0 * both / all : 1.0;
}

TEST(DefaultDetector, HearsSpeechAtAnyLevelAndOnAnyOffset) {
  const auto speech = read_mono("tests/fixtures/speech/sentence.flac");
  const auto expected = probabilities(*make_default_detector(), speech);
  ASSERT_GT(share_of_speech(expected), 0.7);
  for (const float offset : {0.0f, 0.05f, -0.05f, 0.2f, -0.2f, 0.5f, -0.5f}) {
    for (const double gain_db : {0.0, -10.0, -20.0, -30.0, -40.0, -50.0, -60.0, -64.0}) {
      const auto samples = raised(scaled(speech, gain_db), offset);
      EXPECT_GE(agreement(expected, probabilities(*make_default_detector(), samples)), 0.97)
          << gain_db << " dB, offset " << offset;
    }
  }
}

TEST(DefaultDetector, HearsQuietSpeechAfterALoudStretch) {
  const auto speech = read_mono("tests/fixtures/speech/sentence.flac");
  const auto expected = probabilities(*make_default_detector(), speech);
  auto samples = speech;
  samples.resize(samples.size() / kBlock * kBlock + 160 * kBlock);  // 5 s of silence
  const std::size_t begin = samples.size() / kBlock;
  const auto quiet = scaled(speech, -60);
  samples.insert(samples.end(), quiet.begin(), quiet.end());
  const auto found = probabilities(*make_default_detector(), samples);
  EXPECT_GE(agreement(expected, {found.begin() + std::ptrdiff_t(begin), found.end()}), 0.95);
}

TEST(DefaultDetector, AnOffsetThatSetsInIsNoSpeech) {
  for (const float offset : {0.05f, -0.5f}) {
    auto samples = std::vector<float>(4 * kRate);
    std::fill(samples.begin() + 2 * kRate, samples.end(), offset);
    EXPECT_EQ(share_of_speech(probabilities(*make_default_detector(), samples)), 0.0) << offset;
    samples = std::vector<float>(4 * kRate, offset);
    EXPECT_EQ(share_of_speech(probabilities(*make_default_detector(), samples)), 0.0) << offset;
  }
}

TEST(DefaultDetector, ComesBackFromSamplesThatAreNoNumbers) {
  const auto speech = read_mono("tests/fixtures/speech/sentence.flac");
  const auto expected = probabilities(*make_default_detector(), speech);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), 3e38f}) {
    const auto detector = make_default_detector();
    EXPECT_EQ(share_of_speech(probabilities(*detector, std::vector<float>(kBlock, bad))), 0.0);
    EXPECT_GE(agreement(expected, probabilities(*detector, speech)), 0.97);
  }
}

TEST(DefaultDetector, AStepIsRealTimeSafe) {
  if (!rt::testing::RealtimeGuard::available())
    GTEST_SKIP() << rt::testing::RealtimeGuard::kUnavailable;
  const auto detector = make_default_detector();
  const auto samples = steady_noise(10 * kBlock, false, -60, 1);
  EXPECT_EQ(rt::testing::guarded([&] {
              for (std::size_t at = 0; at < samples.size(); at += kBlock) {
                detector->step(std::span<const float, kBlock>(samples.data() + at, kBlock));
              }
              detector->reset();
            }),
            "");
}

TEST(DefaultDetector, HearsNoSpeechInSilenceOrNoise) {
  const auto detector = make_default_detector();
  EXPECT_EQ(share_of_speech(probabilities(*detector, std::vector<float>(60 * kRate))), 0.0);
  for (const bool rumble : {false, true}) {
    for (const double dbfs : {-95.0, -80.0, -70.0, -60.0, -45.0, -30.0, -20.0, -10.0}) {
      detector->reset();
      auto samples = std::vector<float>(kRate);  // noise sets in
      const auto noise = steady_noise(20 * kRate, rumble, dbfs, unsigned(100 - dbfs));
      samples.insert(samples.end(), noise.begin(), noise.end());
      EXPECT_EQ(spans_of(probabilities(*detector, samples)), 0)
          << (rumble ? "rumble " : "white ") << dbfs;
    }
  }
  // Mains hum with harmonics, and a click twice a second.
  std::vector<float> hum(20 * kRate), clicks(20 * kRate);
  for (std::size_t i = 0; i < hum.size(); ++i) {
    for (int k = 1; k <= 5; ++k)
      hum[i] += float(0.03 / k * std::sin(2 * M_PI * 50 * k * i / kRate));
    if (i % 8000 == 0) clicks[i] = 0.5f;
  }
  for (const auto& samples : {hum, clicks}) {
    detector->reset();
    EXPECT_EQ(spans_of(probabilities(*detector, samples)), 0);
  }
}

TEST(DefaultDetector, AQuarterOfAnHourOfNoiseDoesNotMakeItDeaf) {
  const auto detector = make_default_detector();
  const Clip clip = clips().front();
  const auto alone = probabilities(*detector, clip.samples);
  const auto noise = steady_noise(60 * kRate, false, -45, 1);
  // It is not sure about the first second of a stream that starts in noise (MODEL.md).
  probabilities(*detector, std::vector<float>(noise.begin(), noise.begin() + 2 * kRate));
  for (int minute = 0; minute < 15; ++minute) {
    EXPECT_EQ(spans_of(probabilities(*detector, noise)), 0) << minute;
  }
  EXPECT_NEAR(share_of_speech(probabilities(*detector, clip.samples)), share_of_speech(alone),
              0.05);
}

TEST(DefaultDetector, HearsPeople) {
  std::vector<std::pair<std::string, double>> recordings = {
      {"tests/goldens/whisper-multilingual/input.wav", 0.5}};
  for (const auto& [shared, share] :
       {std::pair{"../shared/audio/jfk.wav", 0.5}, std::pair{"../shared/audio/beckett.wav", 0.3}}) {
    if (fs::exists(shared)) recordings.emplace_back(shared, share);
  }
  for (const auto& [path, share] : recordings) {
    EXPECT_GT(share_of_speech(probabilities(*make_default_detector(), read_mono(path))), share)
        << path;
  }
}

/// The mean of a recording's channels, resampled.
std::vector<float> read_at_16_khz(const std::string& path) {
  SF_INFO info{};
  SNDFILE* file = sf_open(path.c_str(), SFM_READ, &info);
  if (!file) throw std::runtime_error(path + ": not a recording");
  std::vector<float> frames(std::size_t(info.frames * info.channels)),
      mono(std::size_t(info.frames));
  sf_readf_float(file, frames.data(), info.frames);
  sf_close(file);
  for (std::size_t i = 0; i < frames.size(); ++i) {
    mono[i / std::size_t(info.channels)] += frames[i] / float(info.channels);
  }
  const int n = int(mono.size());
  dsp::Resampler resampler(info.samplerate, kRate, 1, n);
  resampler.push({{mono.data(), 1, n, n}, {0, info.samplerate}});
  resampler.flush();
  std::vector<float> samples;
  for (AudioChunk chunk; resampler.pop(chunk);) {
    const auto row = chunk.samples.row(0);
    samples.insert(samples.end(), row.begin(), row.end());
  }
  return samples;
}

/// Plucked chords over a bass line; and a real piece where it is there.
TEST(DefaultDetector, HearsNoSpeechInMusic) {
  std::vector<std::string> pieces = {"tests/goldens/htdemucs/input.wav"};
  if (fs::exists("../shared/audio/test_24k.wav"))
    pieces.emplace_back("../shared/audio/test_24k.wav");
  for (const std::string& piece : pieces) {
    const auto found = probabilities(*make_default_detector(), read_at_16_khz(piece));
    // Straight after the start it is not sure yet; from then on it is (MODEL.md).
    EXPECT_LT(share_of_speech(found), 0.04) << piece;
    EXPECT_LT(share_of_speech({found.begin() + 47, found.end()}), 0.01) << piece;
  }
}

TEST(MakeDetector, TakesANameOrAPathAndSaysWhatThereIs) {
  const Clip clip = clips().front();
  const auto trained = probabilities(*make_default_detector(), clip.samples);
  EXPECT_EQ(probabilities(*make_detector(""), clip.samples), trained);
  EXPECT_EQ(probabilities(*make_detector("vad-runnel"), clip.samples), trained);
  EXPECT_EQ(probabilities(*make_detector("assets/models/vad-runnel"), clip.samples), trained);
  EXPECT_EQ(probabilities(*make_detector("energy"), clip.samples),
            probabilities(*make_energy_detector(), clip.samples));
  try {
    make_detector("no-such-detector");
    FAIL() << "accepted";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(),
                 "speech detector 'no-such-detector': expected vad-runnel, energy or the path of "
                 "Silero's weights, found none of them");
  }
  const auto listed = catalog();
  EXPECT_TRUE(std::any_of(listed.begin(), listed.end(), [](const CatalogEntry& entry) {
    return entry.name == kDefaultDetector && is_default(entry);
  }));
}

}  // namespace
}  // namespace runnel::models
