// What `ffmpeg` reads for us.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sndfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <numbers>
#include <thread>

#include "rt/child_process.h"
#include "rt/clock.h"
#include "rt/descriptor.h"
#include "rt/wav_header.h"
#include "tests/rt/test_audio.h"

namespace runnel::rt {
namespace {

using testing::error_of;
using testing::is_one_line;
using testing::read_all;
using testing::TempFolder;

/// Two tracks of a tone: 440 Hz of a second and 880 Hz of two, in a file of this name.
void make_tracks(const std::string& path, const std::vector<std::string>& codec) {
  std::vector<std::string> words = {"ffmpeg",
                                    "-nostdin",
                                    "-loglevel",
                                    "error",
                                    "-y",
                                    "-f",
                                    "lavfi",
                                    "-i",
                                    "sine=frequency=440:sample_rate=48000:duration=1",
                                    "-f",
                                    "lavfi",
                                    "-i",
                                    "sine=frequency=880:sample_rate=48000:duration=2",
                                    "-map",
                                    "0:a",
                                    "-map",
                                    "1:a"};
  words.insert(words.end(), codec.begin(), codec.end());
  words.push_back("file:" + path);
  ChildProcess ffmpeg(words);
  const ChildProcess::Result result = ffmpeg.wait();
  ASSERT_EQ(result.exit_code, 0) << result.err;
}

/// The tone's frequency, by counting its rises through zero.
double frequency(const std::vector<float>& samples, int rate_hz) {
  int rises = 0;
  for (std::size_t i = 1; i < samples.size(); ++i) rises += samples[i - 1] < 0 && samples[i] >= 0;
  return rises * double(rate_hz) / double(samples.size());
}

TEST(Containers, AreReadByFfmpeg) {
  const TempFolder folder;
  for (const auto& [name, codec] : std::vector<std::pair<const char*, std::vector<std::string>>>{
           {"a.m4a", {"-c:a", "aac"}},
           {"a.mkv", {"-c:a", "flac"}},
           {"a.mp4", {"-c:a", "aac", "-movflags", "+faststart"}}}) {
    make_tracks(folder.file(name), codec);
    const auto source = open_source(folder.file(name));
    EXPECT_EQ(source->rate_hz(), 48'000);
    EXPECT_EQ(source->channels(), 1);
    EXPECT_EQ(source->frames(), -1) << "nobody knows before the end";
    const std::vector<float> samples = read_all(*source);
    EXPECT_NEAR(double(samples.size()), 48'000.0, 2100.0) << name;
    EXPECT_NEAR(frequency(samples, 48'000), 440.0, 12.0) << name;
    EXPECT_EQ(source->warning(), "");
    float sample = 0;
    EXPECT_EQ(source->read(&sample, 1), 0) << "stays at the end";
  }
}

TEST(Containers, GiveTheTrackThatIsAskedFor) {
  const TempFolder folder;
  const std::string path = folder.file("a.mkv");
  make_tracks(path, {"-c:a", "flac"});
  const auto source = open_source(path, {.audio_track = 2});
  const std::vector<float> samples = read_all(*source);
  EXPECT_EQ(samples.size(), 96'000U);
  EXPECT_NEAR(frequency(samples, 48'000), 880.0, 5.0);
  const std::string error = error_of([&] { open_source(path, {.audio_track = 3}); });
  EXPECT_TRUE(is_one_line(error));
  EXPECT_NE(error.find("with 3 audio tracks"), std::string::npos) << error;
}

TEST(Containers, MayHaveNamesThatLookLikeOptionsOrProtocols) {
  const TempFolder folder;
  std::filesystem::current_path(folder.file(""));
  for (const char* name : {"-y.mkv", "http:a.mkv", "a b'c.mkv", "%d.mkv"}) {
    make_tracks(name, {"-c:a", "flac"});
    EXPECT_EQ(read_all(*open_source(name)).size(), 48'000U) << name;
  }
  std::filesystem::current_path("/");
}

TEST(Containers, AreRefusedInOneLine) {
  const TempFolder folder;
  make_tracks(folder.file("a.mp4"), {"-c:a", "aac"});
  std::filesystem::resize_file(folder.file("a.mp4"), 5000);  // its table was at the end
  std::ofstream(folder.file("a.srt")) << "1\n00:00:01,000 --> 00:00:02,000\nHello.\n";
  std::ofstream(folder.file("b.srt"), std::ios::binary) << std::string(
      "\xFF\xFE"
      "1\0\r\0\n\0"
      "H\0i\0",
      12);  // UTF-16, as a frame of MP3 begins
  for (const char* name : {"a.mp4", "a.srt", "b.srt"}) {
    ::testing::internal::CaptureStderr();
    const std::string error = error_of([&] { open_source(folder.file(name)); });
    EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
    EXPECT_TRUE(is_one_line(error)) << name;
    EXPECT_EQ(error.rfind(folder.file(name) + ": expected an audio file", 0), 0U) << error;
  }
}

TEST(Containers, TellHowToReadThemWithoutFfmpeg) {
  const TempFolder folder;
  make_tracks(folder.file("a b.m4a"), {"-c:a", "aac"});
  const std::string path = std::getenv("PATH");
  setenv("PATH", folder.file("").c_str(), 1);
  const std::string error = error_of([&] { open_source(folder.file("a b.m4a")); });
  setenv("PATH", path.c_str(), 1);
  EXPECT_TRUE(is_one_line(error));
  EXPECT_NE(error.find("apt install ffmpeg"), std::string::npos) << error;
  EXPECT_NE(error.find("ffmpeg -i 'file:" + folder.file("a b.m4a") + "' -f wav - |"),
            std::string::npos)
      << error;
}

/// How many children this process has, ended ones that nobody waited for included.
int children() {
  const std::string self = std::to_string(getpid());
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    if (!std::isdigit(static_cast<unsigned char>(entry.path().filename().string()[0]))) continue;
    std::ifstream status(entry.path() / "stat");
    std::string text((std::istreambuf_iterator<char>(status)), {});
    const std::size_t name_end = text.rfind(") ");
    if (name_end == std::string::npos) continue;
    count += text.compare(name_end + 4, self.size() + 1, self + " ") == 0 ? 1 : 0;
  }
  return count;
}

/// A shell script that stands in for `ffmpeg` while it lives.
class FakeFfmpeg {
 public:
  explicit FakeFfmpeg(const std::string& script = "") {
    set_script(script);
    std::filesystem::permissions(file("ffmpeg"), std::filesystem::perms::owner_all);
    setenv("PATH", (folder_.file("") + ":" + path_).c_str(), 1);
    std::ofstream(media()) << "no audio that we know";
  }
  ~FakeFfmpeg() { setenv("PATH", path_.c_str(), 1); }
  void set_script(const std::string& script) const {
    std::ofstream(file("ffmpeg")) << "#!/bin/sh\n" << script << "\n";
  }
  std::string media() const { return folder_.file("a.xyz"); }
  std::string file(const std::string& name) const { return folder_.file(name); }

 private:
  const TempFolder folder_;
  const std::string path_ = std::getenv("PATH");
};

/// For a shell: the header of a WAV stream and so many frames of silence.
std::string print_wav(const FakeFfmpeg& fake, int frames) {
  std::vector<std::byte> bytes =
      make_wav_header({.samples = SampleFormat::kFloat32, .rate_hz = 8000, .channels = 1});
  bytes.resize(bytes.size() + std::size_t(4 * frames));
  testing::write_bytes(fake.file("out.wav"), bytes);
  return "cat '" + fake.file("out.wav") + "'";
}

TEST(Containers, OfWhichFfmpegDecodesNothingAreDamaged) {
  const FakeFfmpeg fake;
  fake.set_script(print_wav(fake, 0));
  const auto source = open_source(fake.media());
  EXPECT_TRUE(read_all(*source).empty());
  EXPECT_EQ(source->warning(), fake.media() + ": ffmpeg decoded nothing of it");
  EXPECT_FALSE(source->complete());
}

TEST(Containers, WhatFfmpegSaysIsOneShortLine) {
  for (const auto& [script, line] : std::vector<std::pair<const char*, std::string>>{
           {"exit 3", "(ffmpeg ended with status 3)"},
           {"echo >&2; echo 'file:x: broken' >&2; exit 1", "(ffmpeg: file:x: broken)"},
           {"kill -9 $$", "(ffmpeg ended with status 137)"}}) {
    const FakeFfmpeg fake(script);
    const std::string error = error_of([&] { open_source(fake.media()); });
    EXPECT_TRUE(is_one_line(error)) << error;
    EXPECT_NE(error.find(line), std::string::npos) << error;
  }
  const FakeFfmpeg fake("printf yy >&2; printf 'x%.0sä' $(seq 5000) >&2; exit 1");
  const std::string error = error_of([&] { open_source(fake.media()); });
  EXPECT_LT(error.size(), fake.media().size() + 400);
  EXPECT_NE(error.find("äx…)"), std::string::npos) << "a whole character: " << error;
}

TEST(Containers, AStopEndsTheWaitForAChildThatSaysNoMore) {
  const FakeFfmpeg fake;
  const std::string lives_on = "\nexec >&- 2>&-\nsleep 60";  // without its output
  Interrupt stop;
  const auto interrupt_soon = [&stop] {
    return std::thread([&stop] {
      sleep_until_ns(now_ns() + 20'000'000);  // when it is waited for; sooner would do as well
      stop.request();
    });
  };
  const int before = children();
  fake.set_script(lives_on);
  std::thread interrupter = interrupt_soon();
  EXPECT_THROW(open_source(fake.media(), {}, &stop), Interrupted);
  interrupter.join();

  stop.reset();
  fake.set_script(print_wav(fake, 500) + lives_on);
  {
    const auto source = open_source(fake.media(), {}, &stop);
    std::vector<float> samples(501);
    EXPECT_EQ(source->read(samples.data(), 500), 500);
    interrupter = interrupt_soon();
    EXPECT_EQ(source->read(samples.data(), 1), 0);
    EXPECT_TRUE(source->was_cut());
    EXPECT_EQ(source->warning(), "");
    interrupter.join();
  }
  EXPECT_EQ(children(), before);
}

TEST(Containers, EndWithTheirWrapperWhatItStarted) {
  const FakeFfmpeg fake;
  ASSERT_EQ(mkfifo(fake.file("alive").c_str(), 0600), 0);
  // Who writes it lives as long as it is open.
  fake.set_script("(" + print_wav(fake, 500) + "; sleep 60) 9>'" + fake.file("alive") + "'");
  Descriptor alive(open(fake.file("alive").c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  {
    const auto source = open_source(fake.media());
    float sample = 0;
    EXPECT_EQ(source->read(&sample, 1), 1);
  }
  pollfd end{.fd = alive.get(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(poll(&end, 1, 10'000), 1) << "what the wrapper started runs on";
}

TEST(Containers, LeaveNoChildBehindWhenReadInPart) {
  const TempFolder folder;
  make_tracks(folder.file("a.mkv"), {"-c:a", "flac"});
  const int before = children();
  {
    const auto source = open_source(folder.file("a.mkv"), {.audio_track = 2});
    std::vector<float> some(100);
    EXPECT_EQ(source->read(some.data(), 100), 100);
    EXPECT_EQ(children(), before + 1);
    source->cancel();
    EXPECT_EQ(source->read(some.data(), 100), 0);
  }
  EXPECT_EQ(children(), before);
  {
    const auto source = open_source(folder.file("a.mkv"));
    read_all(*source);
    EXPECT_EQ(children(), before) << "its end was waited for";
  }
}

}  // namespace
}  // namespace runnel::rt
