#include "rt/wav_header.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "tests/rt/test_audio.h"

namespace runnel::rt {
namespace {

using testing::error_of;
using testing::is_one_line;

/// Builds WAV streams byte by byte.
struct Wav {
  Wav& id(const char* name) {
    for (int i = 0; i < 4; ++i) bytes.push_back(std::byte(name[i]));
    return *this;
  }
  Wav& number(std::uint64_t value, int size) {
    for (int i = 0; i < size; ++i) bytes.push_back(std::byte(value >> (8 * i) & 0xFF));
    return *this;
  }
  Wav& riff(const char* magic = "RIFF") { return id(magic).number(0xFFFFFFFF, 4).id("WAVE"); }
  Wav& fmt(int tag, int channels, int rate_hz, int bits, int size = 16) {
    id("fmt ").number(std::uint64_t(size), 4).number(std::uint64_t(tag), 2);
    number(std::uint64_t(channels), 2).number(std::uint64_t(rate_hz), 4);
    number(std::uint64_t(rate_hz) * std::uint64_t(channels * bits / 8), 4);
    return number(std::uint64_t(channels * bits / 8), 2).number(std::uint64_t(bits), 2);
  }
  Wav& extension(int tag, int valid_bits) {
    number(22, 2).number(std::uint64_t(valid_bits), 2).number(3, 4);
    number(std::uint64_t(tag), 2);
    for (const int byte : {0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xAA, 0, 0x38, 0x9B, 0x71}) {
      number(std::uint64_t(byte), 1);
    }
    return *this;
  }
  Wav& chunk(const char* name, int size) {
    id(name).number(std::uint64_t(size), 4);
    bytes.resize(bytes.size() + std::size_t(size + size % 2), std::byte{0x5A});
    return *this;
  }
  Wav& data(std::uint64_t size) { return id("data").number(size, 4); }

  std::vector<std::byte> bytes;
};

struct Parsed {
  WavFormat format;
  std::size_t header_bytes;
};

Parsed parse(const std::vector<std::byte>& bytes) {
  std::size_t at = 0;
  const WavFormat format = read_wav_header(
      [&](std::span<std::byte> out) {
        const std::size_t count = std::min(out.size(), bytes.size() - at);
        if (count > 0) std::memcpy(out.data(), bytes.data() + at, count);
        at += count;
        return count;
      },
      "pipe");
  return {format, at};
}

std::string error(const Wav& wav) {
  return error_of([&] { parse(wav.bytes); });
}

TEST(WavHeader, ReadsThePlainOne) {
  const Wav wav = Wav().riff().fmt(1, 2, 44'100, 16).data(400);
  const auto [format, header_bytes] = parse(wav.bytes);
  EXPECT_EQ(format.samples, SampleFormat::kInt16);
  EXPECT_EQ(format.rate_hz, 44'100);
  EXPECT_EQ(format.channels, 2);
  EXPECT_EQ(format.data_bytes, 400);
  EXPECT_EQ(header_bytes, wav.bytes.size()) << "stops before the audio";
}

TEST(WavHeader, ReadsEverySampleFormat) {
  const auto samples = [](int tag, int bits) {
    return parse(Wav().riff().fmt(tag, 1, 8000, bits).data(8).bytes).format.samples;
  };
  EXPECT_EQ(samples(1, 8), SampleFormat::kInt8);
  EXPECT_EQ(samples(1, 16), SampleFormat::kInt16);
  EXPECT_EQ(samples(1, 24), SampleFormat::kInt24);
  EXPECT_EQ(samples(1, 32), SampleFormat::kInt32);
  EXPECT_EQ(samples(3, 32), SampleFormat::kFloat32);
  EXPECT_EQ(samples(3, 64), SampleFormat::kFloat64);
}

TEST(WavHeader, ReadsTheExtensibleOne) {
  const auto [format, size] =
      parse(Wav().riff().fmt(0xFFFE, 6, 48'000, 24, 40).extension(1, 24).data(18).bytes);
  EXPECT_EQ(format.samples, SampleFormat::kInt24);
  EXPECT_EQ(format.channels, 6);
}

TEST(WavHeader, SkipsChunksThatItDoesNotKnow) {
  const Wav wav = Wav()
                      .riff()
                      .chunk("LIST", 27)
                      .chunk("bext", 5000)
                      .fmt(1, 1, 16'000, 16, 18)
                      .number(0, 2)
                      .chunk("fact", 4)
                      .data(2);
  const auto [format, header_bytes] = parse(wav.bytes);
  EXPECT_EQ(format.rate_hz, 16'000);
  EXPECT_EQ(header_bytes, wav.bytes.size());
}

TEST(WavHeader, TakesSizesThatSayNothingAsUntilTheEnd) {
  for (const std::uint64_t size : {0ULL, 0xFFFFFFFFULL}) {
    const Wav wav = Wav().riff().fmt(1, 1, 16'000, 16).data(size);
    EXPECT_EQ(parse(wav.bytes).format.data_bytes, -1);
  }
}

TEST(WavHeader, ReadsLongSizesOfRf64) {
  for (const char* magic : {"RF64", "BW64"}) {
    Wav wav = Wav().riff(magic).id("ds64").number(28, 4).number(5'000'000'100, 8);
    wav.number(5'000'000'000, 8).number(1'250'000'000, 8).number(0, 4);
    wav.fmt(1, 2, 48'000, 16).data(0xFFFFFFFF);
    const auto [format, header_bytes] = parse(wav.bytes);
    EXPECT_EQ(format.data_bytes, 5'000'000'000);
    EXPECT_EQ(header_bytes, wav.bytes.size());
  }
}

TEST(WavHeader, AbsurdLongSizesMeanUntilTheEnd) {
  Wav wav = Wav().riff("RF64").id("ds64").number(28, 4).number(~0ULL, 8);
  wav.number(~0ULL, 8).number(~0ULL, 8).number(0, 4).fmt(1, 2, 48'000, 16).data(0xFFFFFFFF);
  EXPECT_EQ(parse(wav.bytes).format.data_bytes, -1);
}

TEST(WavHeader, RefusesInOneLineWhatItCannotRead) {
  const Wav good = Wav().riff().fmt(1, 1, 16'000, 16);
  const std::vector<std::pair<Wav, const char*>> cases = {
      {Wav(), "ends inside"},
      {Wav().id("OggS").number(0, 8), "'OggS'"},
      {Wav().id("RIFF").number(4, 4).id("AVI "), "RIFF"},
      {Wav().riff(), "ends inside"},
      {good, "ends inside"},
      {Wav().riff().data(100), "before its format"},
      {Wav(good).fmt(1, 1, 16'000, 16), "two formats"},
      {Wav().riff().fmt(1, 0, 16'000, 16), "found 0"},
      {Wav().riff().fmt(1, 300, 16'000, 16), "found 300"},
      {Wav().riff().fmt(1, 1, 0, 16), "found 0"},
      {Wav().riff().fmt(1, 1, 2'000'000'000, 16), "2000000000"},
      {Wav().riff().fmt(1, 1, 16'000, 40), "40 bits"},
      {Wav().riff().fmt(2, 1, 16'000, 16), "format 2"},
      {Wav().riff().fmt(0xFFFE, 1, 16'000, 16), "too short"},
      {Wav().riff().fmt(1, 1, 16'000, 16, 8), "too short"},
      {Wav().riff("RF64").chunk("ds64", 4), "too short"},
  };
  for (const auto& [wav, what] : cases) {
    const std::string message = error(wav);
    EXPECT_TRUE(is_one_line(message)) << what;
    EXPECT_EQ(message.rfind("pipe: ", 0), 0U) << message;
    EXPECT_NE(message.find(what), std::string::npos) << message;
  }
}

TEST(WavHeader, GivesUpOnAStreamThatNeverComesToItsAudio) {
  const std::vector<std::byte> start = Wav().riff().id("LIST").number(0xFFFFFFFE, 4).bytes;
  std::size_t at = 0;
  std::int64_t served = 0;
  const std::string message = error_of([&] {
    read_wav_header(
        [&](std::span<std::byte> out) {
          for (std::byte& byte : out) byte = at < start.size() ? start[at++] : std::byte{0};
          served += std::int64_t(out.size());
          return out.size();
        },
        "pipe");
  });
  EXPECT_NE(message.find("no audio"), std::string::npos) << message;
  EXPECT_LE(served, 64 << 20);
}

TEST(WavHeader, NeverCrashesOnDamage) {
  Wav good = Wav().riff("RF64").id("ds64").number(28, 4).number(1, 8).number(400, 8).number(100, 8);
  good.number(0, 4).chunk("LIST", 9).fmt(0xFFFE, 2, 48'000, 16, 40).extension(1, 16).data(400);
  std::mt19937 random(11);
  for (int i = 0; i < 20'000; ++i) {
    std::vector<std::byte> bytes = good.bytes;
    for (unsigned k = 0; k < 1 + random() % 4; ++k) {
      bytes[random() % bytes.size()] = std::byte(random() % 256);
    }
    if (random() % 2) bytes.resize(random() % bytes.size());
    try {
      const WavFormat format = parse(bytes).format;
      ASSERT_GE(format.channels, 1);
      ASSERT_GE(format.rate_hz, 1);
      ASSERT_GE(format.bytes_per_frame(), 1);
    } catch (const std::runtime_error& error) {
      ASSERT_TRUE(is_one_line(error.what()));
    }
  }
}

TEST(WavHeader, ReadsWhatItWrites) {
  for (const auto samples : {SampleFormat::kInt16, SampleFormat::kInt24, SampleFormat::kFloat32}) {
    std::vector<std::int64_t> sizes = {-1, 1200, 4'294'900'000, 4'294'967'400, 1'000'000'000'200};
    std::size_t length = 0;
    for (const std::int64_t size : sizes) {
      const WavFormat format = {
          .samples = samples, .rate_hz = 48'000, .channels = 2, .data_bytes = size};
      const std::vector<std::byte> header = make_wav_header(format);
      if (length == 0) length = header.size();
      EXPECT_EQ(header.size(), length) << "so that it can be rewritten in place";
      const auto [back, header_bytes] = parse(header);
      EXPECT_EQ(back.samples, samples);
      EXPECT_EQ(back.rate_hz, 48'000);
      EXPECT_EQ(back.channels, 2);
      EXPECT_EQ(back.data_bytes, size);
      EXPECT_EQ(header_bytes, header.size());
      EXPECT_EQ(std::memcmp(header.data(), size > 4'294'960'000 ? "RF64" : "RIFF", 4), 0);
    }
  }
}

}  // namespace
}  // namespace runnel::rt
