// Compressed files as people have them: joined, without a length, damaged in the middle, cut off.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sndfile.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <numbers>
#include <optional>
#include <thread>

#include "rt/mp3_source.h"
#include "rt/ogg_pages.h"
#include "tests/rt/test_audio.h"

namespace runnel::rt {
namespace {

using testing::read_all;
using testing::read_bytes;
using testing::TempFolder;
using testing::write_bytes;

constexpr int kRateHz = 48'000;
using Bytes = std::vector<std::byte>;

/// A tone in a file of this format.
Bytes encode(int format, double hz, int frames, int rate_hz = kRateHz, int channels = 1) {
  const TempFolder folder;
  SF_INFO info{};
  info.samplerate = rate_hz;
  info.channels = channels;
  info.format = format;
  SNDFILE* file = sf_open(folder.file("a").c_str(), SFM_WRITE, &info);
  if (file == nullptr) throw std::runtime_error(sf_strerror(nullptr));
  std::vector<float> samples(std::size_t(frames * channels));
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const double t = double(i / std::size_t(channels)) / rate_hz;
    samples[i] = float(0.5 * std::sin(2 * std::numbers::pi * hz * t));
  }
  sf_writef_float(file, samples.data(), frames);
  sf_close(file);
  return read_bytes(folder.file("a"));
}

constexpr int kMp3 = SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III;
constexpr int kFlac = SF_FORMAT_FLAC | SF_FORMAT_PCM_16;
constexpr int kVorbis = SF_FORMAT_OGG | SF_FORMAT_VORBIS;
constexpr int kOpus = SF_FORMAT_OGG | SF_FORMAT_OPUS;

Bytes joined(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

struct Heard {
  std::vector<float> samples;
  std::int64_t announced = -1;
  std::string warning{};
  bool complete = false;
};

Heard hear(const Bytes& bytes) {
  const TempFolder folder;
  write_bytes(folder.file("a"), bytes);
  ::testing::internal::CaptureStderr();
  const auto source = open_source(folder.file("a"));
  Heard heard{.samples = read_all(*source), .announced = source->frames()};
  heard.warning = source->warning();
  heard.complete = source->complete();
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "") << "decoders keep their lines";
  return heard;
}

/// Seconds in which a tone of this frequency is heard, by its share of each 10 ms.
double seconds_of(double hz, const std::vector<float>& samples) {
  constexpr int kBlock = kRateHz / 100;
  double seconds = 0;
  for (std::size_t at = 0; at + kBlock <= samples.size(); at += kBlock) {
    double re = 0;
    double im = 0;
    for (int i = 0; i < kBlock; ++i) {
      const double phase = 2 * std::numbers::pi * hz * i / kRateHz;
      re += samples[at + std::size_t(i)] * std::cos(phase);
      im += samples[at + std::size_t(i)] * std::sin(phase);
    }
    if (std::hypot(re, im) / kBlock > 0.1) seconds += 0.01;  // 0.25 where it is whole
  }
  return seconds;
}

/// Without its first frame, which says how many follow.
Bytes without_length(const Bytes& mp3) {
  for (std::size_t i = 4; i + 1 < mp3.size(); ++i) {
    if (mp3[i] == std::byte{0xFF} && (mp3[i + 1] & std::byte{0xF6}) == std::byte{0xF2}) {
      return {mp3.begin() + std::ptrdiff_t(i), mp3.end()};
    }
  }
  throw std::runtime_error("no second frame");
}

/// An ID3v2 tag, as long as one with a picture may be.
Bytes id3_tag(int bytes) {
  Bytes tag(std::size_t(10 + bytes));
  for (std::size_t i = 0; i < 3; ++i) tag[i] = std::byte("ID3"[i]);
  tag[3] = std::byte{3};
  for (int i = 0; i < 4; ++i) tag[std::size_t(9 - i)] = std::byte(bytes >> (7 * i) & 0x7F);
  return tag;
}

TEST(Mp3, JoinedFilesAreReadToTheEnd) {
  const Heard heard =
      hear(joined(encode(kMp3, 1000, 2 * kRateHz), encode(kMp3, 3000, 1 * kRateHz)));
  EXPECT_NEAR(seconds_of(1000, heard.samples), 2.0, 0.05);
  EXPECT_NEAR(seconds_of(3000, heard.samples), 1.0, 0.05);
  EXPECT_EQ(heard.warning, "");
}

TEST(Mp3, OfAnotherRateIsBroughtToTheFirst) {
  const Heard heard =
      hear(joined(encode(kMp3, 1000, kRateHz), encode(kMp3, 3000, 44'100, 44'100, 2)));
  EXPECT_NEAR(seconds_of(1000, heard.samples), 1.0, 0.05);
  EXPECT_NEAR(seconds_of(3000, heard.samples), 1.0, 0.05);
  EXPECT_NE(heard.warning.find("44100 Hz"), std::string::npos) << heard.warning;
}

TEST(Mp3, WithoutALengthIsNotCalledDamaged) {
  const Heard heard = hear(without_length(encode(kMp3, 1000, 2 * kRateHz)));
  EXPECT_NEAR(seconds_of(1000, heard.samples), 2.0, 0.05);
  EXPECT_EQ(heard.announced, -1);
  EXPECT_EQ(heard.warning, "");
  EXPECT_TRUE(heard.complete);
}

TEST(Mp3, WhoseLengthIsTooShortIsReadToTheEnd) {
  for (const int frames : {1, 10}) {
    Bytes bytes = encode(kMp3, 1000, 2 * kRateHz);
    const std::string name = "Xing";  // flags and the number of frames follow
    const auto info = std::search(bytes.begin(), bytes.end(), name.begin(), name.end(),
                                  [](std::byte a, char b) { return a == std::byte(b); });
    ASSERT_NE(info, bytes.end());
    for (int i = 0; i < 4; ++i) info[8 + i] = std::byte(i == 3 ? frames : 0);
    const Heard heard = hear(bytes);
    EXPECT_NEAR(seconds_of(1000, heard.samples), 2.0, 0.05);
    EXPECT_EQ(heard.warning, "");
  }
}

TEST(Mp3, TagsAroundItAreNoDamage) {
  Bytes last(128);
  for (std::size_t i = 0; i < 3; ++i) last[i] = std::byte("TAG"[i]);
  const Bytes one = joined(joined(id3_tag(70'000), encode(kMp3, 1000, kRateHz)), last);
  const Heard heard = hear(joined(one, one));
  EXPECT_NEAR(seconds_of(1000, heard.samples), 2.0, 0.1);
  EXPECT_EQ(heard.warning, "");
}

TEST(Mp3, GoesOnBehindAHole) {
  Bytes bytes = encode(kMp3, 1000, 4 * kRateHz);
  std::fill_n(bytes.begin() + std::ptrdiff_t(bytes.size() / 2), 900, std::byte{0});
  const Heard heard = hear(bytes);
  EXPECT_NEAR(seconds_of(1000, heard.samples), 3.8, 0.3);
  EXPECT_NE(heard.warning.find("damaged at"), std::string::npos) << heard.warning;
  EXPECT_FALSE(heard.complete);
}

/// System calls that read, of this process so far; none where the kernel doesn't count them.
std::optional<long> reads() {
  std::ifstream io("/proc/self/io");
  std::string name;
  for (long count = 0; io >> name >> count;) {
    if (name == "syscr:") return count;
  }
  return std::nullopt;
}

TEST(Mp3, LooksThroughALargeHoleInFewReads) {
  Bytes bytes = encode(kMp3, 1000, 2 * kRateHz);
  const auto before = reads();
  hear(bytes);
  const auto between = reads();
  bytes.insert(bytes.begin() + std::ptrdiff_t(bytes.size() / 2), 4 << 20, std::byte{0});
  EXPECT_NEAR(seconds_of(1000, hear(bytes).samples), 1.9, 0.3);
  const auto after = reads();
  if (!after) GTEST_SKIP() << "this system does not count reads";
  EXPECT_LT(*after - *between, *between - *before + 1000);
}

/// Writes `start`, and then up to `mebibytes` of zeros into a pipe, and requests the stop in the
/// midst of them. Ends with its reader.
class EndlessZeros {
 public:
  EndlessZeros(Bytes start, int mebibytes, Interrupt& stop)
      : start_(std::move(start)), mebibytes_(mebibytes), stop_(stop) {
    if (pipe2(ends_.data(), O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
    std::signal(SIGPIPE, SIG_IGN);
    writer_ = std::thread([this] { write_all(); });
  }
  ~EndlessZeros() { writer_.join(); }
  Descriptor reader() { return Descriptor(ends_[0]); }
  bool was_read_to_the_end() const { return to_the_end_; }

 private:
  bool write(const Bytes& bytes) const {
    for (std::size_t at = 0; at < bytes.size();) {
      const ssize_t count = ::write(ends_[1], bytes.data() + at, bytes.size() - at);
      if (count < 0) return false;
      at += std::size_t(count);
    }
    return true;
  }
  void write_all() {
    const Bytes zeros(1 << 20);
    bool taken = write(start_);
    for (int i = 0; taken && i < mebibytes_; ++i) {
      if (i == 2) stop_.request();
      taken = write(zeros);
    }
    to_the_end_ = taken;
    close(ends_[1]);
  }

  const Bytes start_;
  const int mebibytes_;
  Interrupt& stop_;
  std::array<int, 2> ends_{};
  std::atomic<bool> to_the_end_{false};
  std::thread writer_;
};

TEST(Mp3, AStopEndsTheSearchForTheNextFrame) {
  Interrupt stop;
  EndlessZeros zeros(encode(kMp3, 1000, kRateHz), 64, stop);
  {
    Mp3Source source(zeros.reader(), "a.mp3", &stop);
    read_all(source);
    EXPECT_TRUE(source.was_cut());
    EXPECT_EQ(source.warning(), "") << "what was not read is no damage";
  }
  EXPECT_FALSE(zeros.was_read_to_the_end());
}

TEST(Mp3, TellsThatItWasCutWhereItKnowsItsLength) {
  Bytes bytes = encode(kMp3, 1000, 4 * kRateHz);
  bytes.resize(bytes.size() / 2);
  const Heard heard = hear(bytes);
  EXPECT_NEAR(seconds_of(1000, heard.samples), 1.9, 0.2);
  EXPECT_NE(heard.warning.find("ends after"), std::string::npos) << heard.warning;
  EXPECT_FALSE(heard.complete);
}

TEST(Ogg, ChainsAreReadToTheirLastLink) {
  for (const int format : {kVorbis, kOpus}) {
    const Heard heard =
        hear(joined(encode(format, 1000, 2 * kRateHz), encode(format, 3000, kRateHz)));
    EXPECT_NEAR(seconds_of(1000, heard.samples), 2.0, 0.05);
    EXPECT_NEAR(seconds_of(3000, heard.samples), 1.0, 0.05);
    EXPECT_EQ(heard.warning, "");
    EXPECT_EQ(heard.announced, -1);
  }
}

TEST(Ogg, TagsAndZerosBehindItAreNoDamage) {
  Bytes tag(128);
  for (std::size_t i = 0; i < 3; ++i) tag[i] = std::byte("TAG"[i]);
  for (const int format : {kVorbis, kOpus}) {
    for (const Bytes& behind : {tag, Bytes(100'000)}) {
      const Heard heard = hear(joined(encode(format, 1000, 2 * kRateHz), behind));
      EXPECT_NEAR(seconds_of(1000, heard.samples), 2.0, 0.05);
      EXPECT_EQ(heard.warning, "");
      EXPECT_TRUE(heard.complete);
    }
  }
}

TEST(Ogg, RubbishBetweenPagesIsTold) {
  const Bytes bytes = encode(kVorbis, 1000, 2 * kRateHz);
  const Heard heard = hear(joined(joined(bytes, Bytes(5000)), bytes));
  EXPECT_NE(heard.warning.find("5000 bytes were passed over"), std::string::npos) << heard.warning;
}

TEST(Ogg, AStopEndsTheSearchForPages) {
  const TempFolder folder;
  const std::string path = folder.file("a.ogg");
  write_bytes(path, encode(kVorbis, 1000, 2 * kRateHz));
  std::filesystem::resize_file(path, 64 << 20);  // zeros
  int asked = 0;
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  find_ogg_pages(file.get(), [&asked] { return ++asked == 20; });
  EXPECT_EQ(asked, 20);
  Interrupt stop;
  stop.request();
  EXPECT_THROW(open_source(path, {}, &stop), Interrupted);
}

TEST(Ogg, TellsALinkThatDoesNotFit) {
  const Heard heard =
      hear(joined(encode(kVorbis, 1000, kRateHz), encode(kVorbis, 3000, kRateHz, kRateHz, 2)));
  EXPECT_NEAR(seconds_of(1000, heard.samples), 1.0, 0.05);
  EXPECT_NE(heard.warning.find("part 2 of 2"), std::string::npos) << heard.warning;
  EXPECT_FALSE(heard.complete);
}

TEST(Ogg, TellsThatItWasCut) {
  for (const int format : {kVorbis, kOpus}) {
    Bytes bytes = encode(format, 1000, 8 * kRateHz);
    bytes.resize(bytes.size() / 2);
    const Heard heard = hear(bytes);
    EXPECT_GT(seconds_of(1000, heard.samples), 1.0);
    EXPECT_NE(heard.warning.find("cut off"), std::string::npos) << heard.warning;
    EXPECT_FALSE(heard.complete);
  }
}

TEST(Ogg, TellsMissingPages) {
  for (const int format : {kVorbis, kOpus}) {
    Bytes bytes = encode(format, 1000, 8 * kRateHz);
    const auto middle = bytes.begin() + std::ptrdiff_t(bytes.size() / 2);
    std::fill_n(middle, 200, std::byte{0});
    const Heard whole = hear(encode(format, 1000, 8 * kRateHz));
    EXPECT_TRUE(whole.complete) << whole.warning;
    EXPECT_NEAR(seconds_of(1000, whole.samples), 8.0, 0.05);
    EXPECT_GT(seconds_of(1000, hear(bytes).samples), 4.0) << "on behind the damage";
  }
}

TEST(Flac, GoesOnBehindAHole) {
  Bytes bytes = encode(kFlac, 1000, 4 * kRateHz);
  std::fill_n(bytes.begin() + std::ptrdiff_t(bytes.size() / 2), 900, std::byte{0});
  const Heard heard = hear(bytes);
  EXPECT_GT(seconds_of(1000, heard.samples), 3.5) << heard.samples.size();
  EXPECT_NE(heard.warning.find("damaged"), std::string::npos) << heard.warning;
  EXPECT_FALSE(heard.complete);
}

TEST(Flac, JoinedFilesAreReadToTheEnd) {
  const Bytes part = encode(kFlac, 1000, kRateHz);
  for (const Bytes& start : {part, joined(id3_tag(20'000), part)}) {
    const Heard heard = hear(joined(joined(start, part), part));
    EXPECT_EQ(heard.samples.size(), std::size_t(3 * kRateHz));
    EXPECT_EQ(heard.warning, "");
  }
  const Heard other = hear(joined(part, encode(kFlac, 1000, kRateHz / 2, kRateHz / 2)));
  EXPECT_EQ(other.samples.size(), std::size_t(kRateHz));
  EXPECT_NE(other.warning.find("part 2 of 2, and what follows, was left out"), std::string::npos)
      << other.warning;
}

TEST(Flac, DamageAtItsEndIsToldAndTheRestIsHeard) {
  Bytes bytes = encode(kFlac, 1000, 4 * kRateHz);
  std::fill_n(bytes.end() - 3000, 3000, std::byte{0});
  const Heard heard = hear(bytes);
  EXPECT_GT(seconds_of(1000, heard.samples), 3.5);
  EXPECT_NE(heard.warning.find("damaged"), std::string::npos) << heard.warning;
  EXPECT_FALSE(heard.complete);
}

TEST(Flac, BehindAnId3TagNeedsNoFfmpeg) {
  const std::string path = std::getenv("PATH");
  setenv("PATH", "/nowhere", 1);
  const Heard heard = hear(joined(id3_tag(20'000), encode(kFlac, 1000, 2 * kRateHz)));
  setenv("PATH", path.c_str(), 1);
  EXPECT_NEAR(seconds_of(1000, heard.samples), 2.0, 0.05);
  EXPECT_EQ(heard.warning, "");
}

TEST(Flac, AStopBeforeItsFormatIsKnownIsNoRefusal) {
  const TempFolder folder;
  write_bytes(folder.file("a.flac"), encode(kFlac, 1000, kRateHz));
  Interrupt stop;
  stop.request();
  EXPECT_THROW(open_source(folder.file("a.flac"), {}, &stop), Interrupted);
}

TEST(Flac, TellsThatItWasCut) {
  Bytes bytes = encode(kFlac, 1000, 4 * kRateHz);
  bytes.resize(bytes.size() / 2);
  const Heard heard = hear(bytes);
  EXPECT_GT(seconds_of(1000, heard.samples), 1.5);
  EXPECT_FALSE(heard.complete);
}

}  // namespace
}  // namespace runnel::rt
