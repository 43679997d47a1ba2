#include "dsp/log_mel.h"

#include <gtest/gtest.h>
#include <sndfile.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/dsp/signals.h"
#include "tests/models/goldens.h"

namespace runnel::dsp {
namespace {

constexpr int kRate = LogMel::kRate;

struct Result {
  std::vector<float> rows;  // [frames, bins]
  std::vector<std::int64_t> centres;
  int bins = 0;

  int frames() const { return int(centres.size()); }
  MatrixView<const float> view() const { return {rows.data(), frames(), bins, bins}; }
};

Result run(LogMel& mel, const std::vector<float>& samples, const std::vector<int>& sizes) {
  Result result;
  result.bins = mel.mel_bins();
  feed(mel, {samples}, sizes, kRate, [&] {
    for (MelFrames frames; mel.pop(frames);) {
      EXPECT_GT(frames.log_mel.rows, 0);
      EXPECT_EQ(frames.start.rate_hz, kRate);
      for (int r = 0; r < frames.log_mel.rows; ++r) {
        const auto row = frames.log_mel.row(r);
        result.rows.insert(result.rows.end(), row.begin(), row.end());
        result.centres.push_back(frames.start.index + r * LogMel::kHop);
      }
    }
  });
  return result;
}

Result run(int bins, const std::vector<float>& samples, const std::vector<int>& sizes) {
  LogMel mel(bins, *std::max_element(sizes.begin(), sizes.end()));
  return run(mel, samples, sizes);
}

/// The definition in double, filters aside: frame t of `samples`, its first side reflected.
std::vector<double> plain_frame(const std::vector<float>& samples, int t, int bins) {
  const auto n = std::int64_t(samples.size());
  std::vector<double> windowed(400), mel(bins);
  for (int i = 0; i < 400; ++i) {
    const std::int64_t at = std::abs(160 * std::int64_t(t) + i - 200);
    const double hann = 0.5 - 0.5 * std::cos(2 * std::numbers::pi * i / 400);
    windowed[i] = at < n ? hann * samples[at] : 0.0;
  }
  const auto filters = slaney_mel_filters(bins, 400, kRate);
  for (int k = 0; k <= 200; ++k) {
    double re = 0, im = 0;
    for (int i = 0; i < 400; ++i) {
      re += windowed[i] * std::cos(2 * std::numbers::pi * (k * i % 400) / 400);
      im += windowed[i] * std::sin(2 * std::numbers::pi * (k * i % 400) / 400);
    }
    for (int band = 0; band < bins; ++band)
      mel[band] += filters[band * 201 + k] * (re * re + im * im);
  }
  for (double& value : mel) value = std::log10(std::max(value, 1e-10));
  return mel;
}

class MelGoldens : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    SF_INFO info{};
    const std::string input = folder("whisper-multilingual") + "/input.wav";
    SNDFILE* file = sf_open(input.c_str(), SFM_READ, &info);
    ASSERT_TRUE(file != nullptr && info.channels == 1 && info.samplerate == kRate);
    samples_.resize(30 * kRate);
    EXPECT_EQ(sf_readf_float(file, samples_.data(), info.frames), info.frames);
    sf_close(file);
  }

  static std::string folder(const std::string& name) {
    return models::testing::golden(GetParam(), name).string();
  }

  /// expected: [3000 / every, bins].
  void compare(int bins, int every, const std::vector<float>& expected) {
    const Result result = run(bins, samples_, {4000});
    ASSERT_EQ(result.frames(), 3000);
    std::vector<float> scaled(result.rows.size());
    whisper_window(result.view(), {scaled.data(), 3000, bins, bins});
    double largest = 0, sum = 0;
    for (int t = 0; t < 3000; t += every) {
      for (int band = 0; band < bins; ++band) {
        const double error = std::abs(scaled[t * bins + band] - expected[t / every * bins + band]);
        largest = std::max(largest, error);
        sum += error;
      }
    }
    RecordProperty("largest", std::to_string(largest));
    EXPECT_LE(largest, 1e-4);
    EXPECT_LE(sum / double(expected.size()), 1e-5);
  }
  std::vector<float> samples_;
};

INSTANTIATE_TEST_SUITE_P(, MelGoldens, testing::ValuesIn(models::testing::golden_sets()),
                         models::testing::set_name);

TEST_P(MelGoldens, EightyBandsEqualTheReference) {
  compare(80, 1, models::testing::expected_log_mel(folder("whisper-multilingual")));
}

TEST_P(MelGoldens, HundredTwentyEightBandsEqualTheReference) {
  const auto columns =
      models::testing::expected_tensor(folder("whisper-turbo"), "log_mel_every25").values;
  std::vector<float> rows(columns.size());
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i % 120 * 128 + i / 120] = columns[i];
  compare(128, 25, rows);
}

TEST(LogMel, EqualsItsDefinitionFromTheReflectedStartToTheZerosAfterTheEnd) {
  for (const int n : {160, 200, 201, 350, 1600, 1750}) {
    const auto samples = noise(n, 3);
    for (const int bins : {80, 128}) {
      const Result result = run(bins, samples, {n});
      ASSERT_EQ(result.frames(), n / 160) << n;
      for (int t = 0; t < result.frames(); ++t) {
        EXPECT_EQ(result.centres[t], 160 * t);
        const auto expected = plain_frame(samples, t, bins);
        for (int band = 0; band < bins; ++band) {
          EXPECT_NEAR(result.rows[t * bins + band], expected[band], 2e-5) << n << " " << t;
        }
      }
    }
  }
}

TEST(LogMel, GivesTheSameBitsForAnyChunking) {
  for (const int n : {0, 159, 160, 170, 200, 201, 16000, 16100}) {
    const auto samples = noise(n, 5);
    const Result expected = run(80, samples, {std::max(n, 1)});
    EXPECT_EQ(expected.frames(), n / 160);
    for (const auto& sizes : chunkings(std::max(n, 1))) {
      const Result result = run(80, samples, sizes);
      EXPECT_EQ(result.centres, expected.centres) << n << " in " << sizes[0];
      EXPECT_TRUE(result.rows == expected.rows) << n << " in " << sizes[0];
    }
  }
}

TEST(LogMel, IsTheSameAfterAReset) {
  const auto samples = noise(5000, 8);
  LogMel mel(80, 777);
  const Result first = run(mel, samples, {777});
  mel.reset();
  mel.push({{samples.data(), 1, 400, 400}, {0, kRate}});
  mel.reset();
  const Result second = run(mel, samples, {777});
  EXPECT_TRUE(first.rows == second.rows);
  EXPECT_EQ(first.centres, second.centres);
}

TEST(LogMel, FramesComeWithTheSampleThatIsPromised) {
  const auto samples = noise(2000, 9);
  LogMel mel(80, 1);
  EXPECT_EQ(mel.latency_samples(), 200);
  std::vector<int> when;
  for (int i = 0; i < 2000; ++i) {
    mel.push({{samples.data() + i, 1, 1, 1}, {i, kRate}});
    for (MelFrames frames; mel.pop(frames);) {
      EXPECT_LE(i, frames.start.index + mel.latency_samples());
      when.push_back(i);
    }
  }
  ASSERT_EQ(when.size(), 12u);
  EXPECT_EQ(when[0], 200);
  for (std::size_t t = 1; t < when.size(); ++t) EXPECT_EQ(when[t], int(160 * t) + 199);
}

TEST(LogMel, ASineLightsTheBandOfItsFrequency) {
  const auto filters = slaney_mel_filters(80, 400, kRate);
  for (const int bin : {10, 25, 60, 150}) {
    const Result result = run(80, sine(bin * 40.0, kRate, 4000, 0.5), {4000});
    // In the middle: |X| = amplitude/2 · Σ window = 0.25 · 200; its neighbours hold half of it.
    for (int band = 0; band < 80; ++band) {
      const float* row = filters.data() + band * 201;
      const double power = 2500.0 * (row[bin] + 0.25 * (row[bin - 1] + row[bin + 1]));
      if (power > 0) {
        EXPECT_NEAR(result.rows[12 * 80 + band], std::log10(power), 1e-4) << bin;
      }
    }
  }
}

TEST(LogMel, AnImpulseIsFlatUnderItsWindowAndNowhereElse) {
  std::vector<float> samples(4800);
  samples[1600] = 1.0f;
  const Result result = run(80, samples, {4800});
  const auto filters = slaney_mel_filters(80, 400, kRate);
  for (int t = 0; t < 30; ++t) {
    const int i = 1600 - (160 * t - 200);  // under frame t's window
    const double hann =
        i > 0 && i < 400 ? 0.5 - 0.5 * std::cos(2 * std::numbers::pi * i / 400) : 0.0;
    for (int band = 0; band < 80; ++band) {
      double sum = 0;
      for (int k = 0; k < 201; ++k) sum += filters[band * 201 + k];
      EXPECT_NEAR(result.rows[t * 80 + band], std::log10(std::max(sum * hann * hann, 1e-10)), 1e-4);
    }
  }
}

TEST(LogMel, DigitalSilenceIsExactlyTheFloorAndANanStaysInItsFrames) {
  std::vector<float> samples(8000);
  for (const float value : run(80, samples, {8000}).rows) EXPECT_NEAR(value, -10.0f, 2e-6);
  samples[4000] = std::numeric_limits<float>::quiet_NaN();
  const Result result = run(80, samples, {8000});
  for (int t = 0; t < result.frames(); ++t) {
    EXPECT_EQ(std::isnan(result.rows[t * 80]), std::abs(160 * t - 4000) < 200 || 160 * t == 4200)
        << t;
  }
}

TEST(LogMel, LoudestAndFaintestPowersKeepTheirLogarithm) {
  for (const double amplitude : {1e-6, 1e-4, 1e-2, 1.0, 30.0, 1e4}) {
    const Result result = run(80, sine(1000, kRate, 3200, amplitude), {3200});
    const auto expected = plain_frame(sine(1000, kRate, 3200, amplitude), 10, 80);
    const double most = *std::max_element(expected.begin(), expected.end());
    for (int band = 0; band < 80; ++band) {
      if (expected[band] > most - 6) {
        EXPECT_NEAR(result.rows[10 * 80 + band], expected[band], 1e-4) << amplitude;
      }
    }
  }
}

TEST(LogMel, RefusesSizesThatAreNone) {
  EXPECT_THROW(LogMel(0, 100), std::invalid_argument);
  EXPECT_THROW(LogMel(80, 0), std::invalid_argument);
  EXPECT_THROW(slaney_mel_filters(80, 1, kRate), std::invalid_argument);
}

TEST(SlaneyMelFilters, HaveTheKnownValues) {
  const auto eighty = slaney_mel_filters(80, 400, kRate);
  // Bands 0 and 1 at 40 and 80 Hz, as in librosa.filters.mel(sr=16000, n_fft=400, n_mels=80).
  EXPECT_NEAR(eighty[0 * 201 + 0], 0.0, 0);
  EXPECT_NEAR(eighty[0 * 201 + 1], 0.02486259, 1e-8);
  EXPECT_NEAR(eighty[1 * 201 + 1], 0.00199082, 1e-8);
  for (const int bins : {80, 128}) {
    const auto filters = slaney_mel_filters(bins, 400, kRate);
    for (int band = 0; band < bins; ++band) {
      double area = 0, most = 0;  // of a triangle over its base: 1, as far as 40 Hz steps tell
      for (int k = 0; k < 201; ++k) {
        area += 40.0 * filters[band * 201 + k];
        most = std::max(most, double(filters[band * 201 + k]));
      }
      EXPECT_GT(most, 0) << band;
      if (band > bins / 2) {
        EXPECT_NEAR(area, 1.0, 0.1) << band;
      }
    }
  }
}

TEST(WhisperWindow, ClampsToEightBelowTheMaximumAndFillsWithSilence) {
  const std::vector<float> in = {1.0f, -3.0f, -9.5f, 0.0f};  // [2, 2]
  std::vector<float> out(6, 7.0f);
  whisper_window({in.data(), 2, 2, 2}, {out.data(), 3, 2, 2});
  EXPECT_EQ(out, (std::vector<float>{1.25f, 0.25f, -0.75f, 1.0f, -0.75f, -0.75f}));
  whisper_window({in.data(), 0, 2, 2}, {out.data(), 3, 2, 2});  // silence alone
  for (const float value : out) EXPECT_EQ(value, -1.5f);
}

}  // namespace
}  // namespace runnel::dsp
