#include "rt/device.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "rt/device_stream.h"
#include "tests/rt/test_audio.h"

namespace runnel::rt {
namespace {

using testing::error_of;
using testing::is_one_line;

std::vector<DeviceInfo> machine() {
  return {
      {.index = 0, .name = "HDA Intel: Analog", .max_input_channels = 2, .max_output_channels = 2},
      {.index = 1, .name = "USB Mic", .max_input_channels = 1},
      {.index = 2, .name = "USB Mic Pro", .max_input_channels = 4},
      {.index = 3, .name = "HDMI", .max_output_channels = 8},
      {.index = 4,
       .name = "default",
       .max_input_channels = 32,
       .max_output_channels = 32,
       .default_input = true,
       .default_output = true},
      {.index = 5, .name = "default monitor", .max_input_channels = 2},
  };
}

int input(const std::string& query) {
  static const std::vector<DeviceInfo> devices = machine();
  return find_device(devices, query, DeviceDirection::kInput).index;
}

int output(const std::string& query) {
  static const std::vector<DeviceInfo> devices = machine();
  return find_device(devices, query, DeviceDirection::kOutput).index;
}

TEST(FindDevice, TakesTheDefaultForAnEmptyQuery) {
  EXPECT_EQ(input(""), 4);
  EXPECT_EQ(output(""), 4);
}

TEST(FindDevice, TakesANumberAsAnIndex) {
  EXPECT_EQ(input("2"), 2);
  EXPECT_EQ(output("3"), 3);
}

TEST(FindDevice, TakesAPartOfTheNameInAnyCase) {
  EXPECT_EQ(input("analog"), 0);
  EXPECT_EQ(input("pro"), 2);
  EXPECT_EQ(output("hdmi"), 3);
}

TEST(FindDevice, PrefersAnExactNameThenADefault) {
  EXPECT_EQ(input("usb mic"), 1);
  EXPECT_EQ(input("DEFAULT"), 4);
  EXPECT_EQ(input("defa"), 4);
}

TEST(FindDevice, NamesTheCandidatesOfAnAmbiguousQuery) {
  const std::string error = error_of([] { input("usb"); });
  EXPECT_TRUE(is_one_line(error));
  EXPECT_NE(error.find("'usb'"), std::string::npos);
  EXPECT_NE(error.find("1 'USB Mic'"), std::string::npos);
  EXPECT_NE(error.find("2 'USB Mic Pro'"), std::string::npos);
  EXPECT_EQ(error.find("HDA"), std::string::npos);
}

TEST(FindDevice, NamesTheQueryAndWhatThereIsOnAMiss) {
  for (const std::string query : {"violin", "17", "1"}) {  // 1 is no output
    const std::string error = error_of([&] { output(query); });
    EXPECT_TRUE(is_one_line(error));
    EXPECT_NE(error.find(query), std::string::npos) << error;
    EXPECT_NE(error.find("3 'HDMI'"), std::string::npos) << error;
    EXPECT_EQ(error.find("USB"), std::string::npos) << error;
  }
}

TEST(FindDevice, SaysPlainlyThatThereIsNone) {
  const std::string error = error_of([] { find_device({}, "", DeviceDirection::kInput); });
  EXPECT_EQ(error, "no audio input device was found");
  EXPECT_TRUE(is_one_line(error_of([] { find_device({}, "usb", DeviceDirection::kOutput); })));
}

TEST(FindDevice, SaysThatThereIsNoDefault) {
  std::vector<DeviceInfo> devices = machine();
  devices.resize(4);
  const std::string error = error_of([&] { find_device(devices, "", DeviceDirection::kInput); });
  EXPECT_NE(error.find("no default"), std::string::npos);
  EXPECT_NE(error.find("USB Mic"), std::string::npos);
}

TEST(AudioSystem, StartsWithOrWithoutDevicesAndWithoutAWord) {
  ::testing::internal::CaptureStderr();
  {
    const AudioSystem system;
    EXPECT_TRUE(is_one_line(error_of([&] { system.find_input("no such microphone"); })));
    EXPECT_TRUE(is_one_line(error_of([&] { system.device(-1); })));
    EXPECT_TRUE(is_one_line(error_of([&] { system.device(100'000); })));
    EXPECT_TRUE(is_one_line(error_of([&] { resolve(system, {}); })));
    EXPECT_TRUE(is_one_line(error_of([&] { resolve(system, {.input_device = 100'000}); })));
  }
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

TEST(AudioSystem, WithoutAlsasConfigurationThereIsNoDevice) {
  const char* name = "ALSA_CONFIG_PATH";
  for (const char* path : {"/dev/null", "/nowhere/alsa.conf"}) {
    const pid_t child = fork();  // PortAudio used to abort
    if (child == 0) {
      setenv(name, path, 1);
      const bool none = AudioSystem().devices().empty();
      _exit(none ? 0 : 1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0) << path;
  }
}

TEST(QuietStderr, IsQuietOnlyWhileItLives) {
  ::testing::internal::CaptureStderr();
  {
    const QuietStderr quiet;
    std::fputs("chatter\n", stderr);
  }
  std::fputs("heard\n", stderr);
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "heard\n");
}

}  // namespace
}  // namespace runnel::rt
