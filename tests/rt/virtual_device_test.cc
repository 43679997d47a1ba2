// Real callbacks: PortAudio on ALSA on a PulseAudio daemon of our own.

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <vector>

#include "rt/clock.h"
#include "rt/device_stream.h"
#include "tests/rt/test_audio.h"
#include "tests/rt/virtual_sound_card.h"

namespace runnel::rt {
namespace {

using testing::VirtualSoundCard;

constexpr int kRateHz = 48'000;
constexpr int kLeadIn = kRateHz / 4;  // PulseAudio swallows the first milliseconds of a stream
constexpr int kBurst = kRateHz / 2;

class VirtualDevice : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!card_.available()) GTEST_SKIP() << card_.why_not();
    system_ = std::make_unique<AudioSystem>();
  }

  AudioRing ring(int seconds) const {
    return AudioRing({.channels = 1, .rate_hz = kRateHz, .min_frames = seconds * kRateHz});
  }

  VirtualSoundCard card_{{"speaker", "headphones"}};
  std::unique_ptr<AudioSystem> system_;
};

double dot(const float* a, const float* b, int n) {
  double sum = 0;
  for (int i = 0; i < n; ++i) sum += double(a[i]) * b[i];
  return sum;
}

/// The best normalised correlation of the burst with any place of what was heard.
double find(const std::vector<float>& burst, const std::vector<float>& heard) {
  constexpr int kProbe = 400;  // finds the place; the whole burst judges it
  const int last = int(heard.size()) - kBurst;
  int best_at = 0;
  double best = 0;
  for (int at = 0; at <= last; ++at) {
    const double match = dot(burst.data(), heard.data() + at, kProbe);
    if (match > best) {
      best = match;
      best_at = at;
    }
  }
  if (best <= 0) return 0;
  const float* place = heard.data() + best_at;
  return dot(burst.data(), place, kBurst) /
         std::sqrt(dot(burst.data(), burst.data(), kBurst) * dot(place, place, kBurst));
}

TEST_F(VirtualDevice, IsFoundByNameAndAsTheDefault) {
  EXPECT_GT(system_->find_output("headphones").max_output_channels, 0);
  EXPECT_GT(system_->find_input("speaker_monitor").max_input_channels, 0);
  EXPECT_TRUE(system_->find_output("").default_output);
  EXPECT_TRUE(system_->find_input("").default_input);
}

TEST_F(VirtualDevice, RefusesWhatTheDeviceDoesNotHave) {
  const int speaker = system_->find_output("speaker").index;
  EXPECT_NE(testing::error_of([&] {
              resolve(*system_, {.output_device = speaker, .output_channels = 5000});
            }).find("not 5000"),
            std::string::npos);
  const DeviceStreamOptions options = resolve(*system_, {.output_device = speaker});
  AudioRing wrong({.channels = 7, .rate_hz = 8000, .min_frames = 4096});
  EXPECT_THROW(DeviceStream(*system_, options, nullptr, &wrong), std::invalid_argument);
  EXPECT_THROW(DeviceStream(*system_, options, nullptr, nullptr), std::invalid_argument);
}

TEST_F(VirtualDevice, HearsWhatItPlays) {
  const DeviceStreamOptions out =
      resolve(*system_, {.output_device = system_->find_output("headphones").index,
                         .rate_hz = kRateHz,
                         .output_channels = 1,
                         .device_latency_ms = 100,
                         .playback = {.target_frames = kRateHz / 20,
                                      .tolerance_frames = PlaybackOptions::kNeverSkip}});
  const DeviceStreamOptions in =
      resolve(*system_, {.input_device = system_->find_input("headphones_monitor").index,
                         .rate_hz = kRateHz,
                         .input_channels = 1,
                         .device_latency_ms = 50});
  const std::vector<float> burst = testing::noise(kBurst);
  std::vector<float> program(kLeadIn, 0.0F);
  program.insert(program.end(), burst.begin(), burst.end());
  // On a machine that is busy enough the daemon itself may stumble, so there are three tries.
  double best = 0;
  for (int attempt = 0; attempt < 3 && best < 0.98; ++attempt) {
    AudioRing played = ring(2);
    AudioRing captured = ring(60);
    DeviceStream listener(*system_, in, &captured, nullptr);
    DeviceStream speaker(*system_, out, nullptr, &played);
    EXPECT_FALSE(listener.alive());
    listener.start();
    while (captured.fill() == 0 && listener.alive()) sleep_until_ns(now_ns() + 10'000'000);
    played.write(program.data(), int(program.size()), now_ns());
    speaker.start();
    EXPECT_TRUE(speaker.alive());
    speaker.play_out();
    const int enough = captured.fill() + kRateHz;
    while (captured.fill() < enough && listener.alive()) sleep_until_ns(now_ns() + 10'000'000);
    EXPECT_EQ(listener.failure(), "");
    EXPECT_EQ(speaker.failure(), "");
    speaker.stop();
    listener.stop();
    listener.stop();
    EXPECT_FALSE(listener.alive());
    EXPECT_EQ(speaker.io().counters().played_frames, kLeadIn + kBurst);
    EXPECT_GT(speaker.io().playback_delay().stats().count, 0);
    EXPECT_GT(speaker.reported_output_latency_ms(), 0.0);
    EXPECT_GT(listener.reported_input_latency_ms(), 0.0);

    std::vector<float> heard(std::size_t(captured.readable()));
    captured.read(heard.data(), int(heard.size()));
    best = std::max(best, find(burst, heard));
  }
  EXPECT_GT(best, 0.98);
}

TEST_F(VirtualDevice, RunsBothWaysInOneStream) {
  const DeviceStreamOptions options =
      resolve(*system_, {.input_device = system_->find_input("speaker_monitor").index,
                         .output_device = system_->find_output("headphones").index,
                         .rate_hz = kRateHz,
                         .input_channels = 1,
                         .output_channels = 2,
                         .block_frames = 256,
                         .device_latency_ms = 100});
  const std::vector<float> silence(2 * 4096);
  // PortAudio gives a duplex stream up when a busy machine makes PulseAudio stumble: three tries.
  bool worked = false;
  for (int attempt = 0; attempt < 3 && !worked; ++attempt) {
    AudioRing captured({.channels = 1, .rate_hz = kRateHz, .min_frames = kRateHz});
    AudioRing played({.channels = 2, .rate_hz = kRateHz, .min_frames = kRateHz});
    DeviceStream stream(*system_, options, &captured, &played);
    EXPECT_NE(stream.description().find("headphones"), std::string::npos);
    stream.start();
    played.write(silence.data(), 4096, now_ns());
    while (!worked && stream.alive()) {
      worked = captured.fill() >= 4096 && stream.io().counters().played_frames >= 256;
      sleep_until_ns(now_ns() + 10'000'000);
    }
  }
  EXPECT_TRUE(worked);
}

TEST_F(VirtualDevice, UnpluggingIsOneClearLineAndNeverAHang) {
  const DeviceStreamOptions options =
      resolve(*system_, {.input_device = system_->find_input("speaker_monitor").index});
  AudioRing captured({.channels = options.input_channels,
                      .rate_hz = options.rate_hz,
                      .min_frames = options.rate_hz});
  DeviceStream stream(*system_, options, &captured, nullptr);
  stream.start();
  while (stream.io().counters().callbacks < 3 && stream.alive()) {
    sleep_until_ns(now_ns() + 10'000'000);
  }
  ASSERT_EQ(stream.failure(), "");
  card_.unplug();
  while (stream.alive()) sleep_until_ns(now_ns() + 10'000'000);
  EXPECT_TRUE(testing::is_one_line(stream.failure()));
  EXPECT_NE(stream.failure().find("unplugged"), std::string::npos);
  stream.stop();
}

}  // namespace
}  // namespace runnel::rt
