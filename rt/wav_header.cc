#include "rt/wav_header.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <optional>
#include <stdexcept>

namespace runnel::rt {
namespace {

constexpr std::uint32_t kUnknownSize = 0xFFFFFFFF;
constexpr std::int64_t kMaxHeaderBytes = 64 << 20;  // a stream without a data chunk ends here
constexpr int kMaxChannels = 256;
constexpr int kMaxRateHz = 1'000'000;

constexpr std::uint16_t kTagPcm = 1;
constexpr std::uint16_t kTagFloat = 3;
constexpr std::uint16_t kTagExtensible = 0xFFFE;
/// Bytes 2 to 15 of the sub-format of WAVE_FORMAT_EXTENSIBLE; bytes 0 and 1 are the plain tag.
constexpr std::array<unsigned char, 14> kSubFormatTail = {0x00, 0x00, 0x00, 0x00, 0x10, 0x00, 0x80,
                                                          0x00, 0x00, 0xAA, 0x00, 0x38, 0x9B, 0x71};

/// What is read of a fmt chunk: up to the end of WAVE_FORMAT_EXTENSIBLE.
constexpr std::size_t kMaxFmtBytes = 40;
constexpr std::size_t kMinFmtBytes = 16;
/// ds64 up to and with the size of the data chunk; the reserved JUNK chunk has its whole size.
constexpr std::uint32_t kDs64Bytes = 28;

template <class T>
T little_endian(const std::byte* bytes) {
  T value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    value = T(value | T(T(std::to_integer<unsigned char>(bytes[i])) << (8 * i)));
  }
  return value;
}

/// Reads a header in order and knows how to complain.
class HeaderReader {
 public:
  HeaderReader(const ByteReader& read, const std::string& name) : read_(read), name_(name) {}

  [[noreturn]] void fail(const std::string& what) const {
    throw std::runtime_error(name_ + ": not a WAV stream that can be read: " + what);
  }

  void exactly(std::span<std::byte> bytes, const char* what) {
    spend(std::int64_t(bytes.size()));
    if (read_(bytes) < bytes.size()) fail(std::string("it ends inside ") + what);
  }

  void skip(std::int64_t size, const char* what) {
    std::array<std::byte, 512> scratch;
    for (; size > 0; size -= std::int64_t(scratch.size())) {
      exactly(std::span(scratch).first(std::size_t(std::min<std::int64_t>(size, scratch.size()))),
              what);
    }
  }

 private:
  void spend(std::int64_t bytes) {
    left_ -= bytes;
    if (left_ < 0) fail("no audio within the first 64 MiB");
  }

  const ByteReader& read_;
  const std::string& name_;
  std::int64_t left_ = kMaxHeaderBytes;
};

std::string printable(std::span<const std::byte> id) {
  std::string text;
  for (const std::byte byte : id) {
    const auto c = std::to_integer<unsigned char>(byte);
    text += c >= 0x20 && c < 0x7F ? char(c) : '?';
  }
  return "'" + text + "'";
}

bool is(std::span<const std::byte> id, const char* name) {
  return std::memcmp(id.data(), name, 4) == 0;
}

std::optional<SampleFormat> sample_format(std::uint16_t tag, int bits) {
  if (tag == kTagPcm && bits == 8) return SampleFormat::kInt8;
  if (tag == kTagPcm && bits == 16) return SampleFormat::kInt16;
  if (tag == kTagPcm && bits == 24) return SampleFormat::kInt24;
  if (tag == kTagPcm && bits == 32) return SampleFormat::kInt32;
  if (tag == kTagFloat && bits == 32) return SampleFormat::kFloat32;
  if (tag == kTagFloat && bits == 64) return SampleFormat::kFloat64;
  return std::nullopt;
}

WavFormat parse_fmt(std::span<const std::byte> fmt, const HeaderReader& reader) {
  auto tag = little_endian<std::uint16_t>(fmt.data());
  const int channels = little_endian<std::uint16_t>(fmt.data() + 2);
  const auto rate_hz = little_endian<std::uint32_t>(fmt.data() + 4);
  const int block_align = little_endian<std::uint16_t>(fmt.data() + 12);
  const int bits = little_endian<std::uint16_t>(fmt.data() + 14);
  if (tag == kTagExtensible) {
    if (fmt.size() < kMaxFmtBytes) reader.fail("its extensible fmt chunk is too short");
    if (std::memcmp(fmt.data() + 26, kSubFormatTail.data(), kSubFormatTail.size()) != 0) {
      reader.fail("an unknown extensible sub-format");
    }
    tag = little_endian<std::uint16_t>(fmt.data() + 24);
  }
  const auto samples = sample_format(tag, bits);
  if (!samples) {
    reader.fail("expected PCM of 8, 16, 24 or 32 bits or float of 32 or 64, found format " +
                std::to_string(tag) + " of " + std::to_string(bits) + " bits");
  }
  if (channels < 1 || channels > kMaxChannels) {
    reader.fail("expected 1 to " + std::to_string(kMaxChannels) + " channels, found " +
                std::to_string(channels));
  }
  if (rate_hz < 1 || rate_hz > std::uint32_t(kMaxRateHz)) {
    reader.fail("expected a rate of 1 to " + std::to_string(kMaxRateHz) + " Hz, found " +
                std::to_string(rate_hz));
  }
  const WavFormat format{.samples = *samples, .rate_hz = int(rate_hz), .channels = channels};
  if (block_align != format.bytes_per_frame()) {
    reader.fail("expected frames of " + std::to_string(format.bytes_per_frame()) +
                " bytes, found " + std::to_string(block_align));
  }
  return format;
}

/// Sizes that say nothing become −1.
std::int64_t known_size(std::uint64_t bytes) {
  constexpr auto kMax = std::uint64_t(std::numeric_limits<std::int64_t>::max());
  return bytes == 0 || bytes > kMax ? -1 : std::int64_t(bytes);
}

/// Appends little-endian fields.
class HeaderWriter {
 public:
  void id(const char* name) {
    for (int i = 0; i < 4; ++i) bytes_.push_back(std::byte(name[i]));
  }
  void number(std::uint64_t value, int size) {
    for (int i = 0; i < size; ++i) bytes_.push_back(std::byte(value >> (8 * i) & 0xFF));
  }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

}  // namespace

WavFormat read_wav_header(const ByteReader& read, const std::string& name) {
  HeaderReader reader(read, name);
  std::array<std::byte, 12> riff;
  reader.exactly(riff, "the RIFF header");
  const std::span<const std::byte> magic = std::span(riff).first(4);
  const bool long_sizes = is(magic, "RF64") || is(magic, "BW64");
  if ((!is(magic, "RIFF") && !long_sizes) || !is(std::span(riff).last(4), "WAVE")) {
    reader.fail("expected RIFF or RF64 with WAVE, found " + printable(magic));
  }

  std::optional<WavFormat> format;
  std::uint64_t long_data_bytes = 0;
  for (;;) {
    std::array<std::byte, 8> chunk;
    reader.exactly(chunk, format ? "the chunks before its audio" : "the chunks before its format");
    const std::span<const std::byte> id = std::span(chunk).first(4);
    const auto size = little_endian<std::uint32_t>(chunk.data() + 4);

    if (is(id, "data")) {
      if (!format) reader.fail("its audio comes before its format");
      const bool in_ds64 = long_sizes && size == kUnknownSize;
      const std::uint64_t bytes = in_ds64 ? long_data_bytes : size;
      format->data_bytes = size == kUnknownSize && !in_ds64 ? -1 : known_size(bytes);
      return *format;
    }

    std::int64_t rest = std::int64_t(size) + size % 2;  // chunks are padded to even sizes
    if (is(id, "fmt ")) {
      if (format) reader.fail("two formats");
      std::array<std::byte, kMaxFmtBytes> fmt;
      const std::size_t known = std::min<std::size_t>(size, fmt.size());
      if (known < kMinFmtBytes) reader.fail("its fmt chunk is too short");
      reader.exactly(std::span(fmt).first(known), "its fmt chunk");
      rest -= std::int64_t(known);
      format = parse_fmt(std::span(fmt).first(known), reader);
    } else if (is(id, "ds64") && long_sizes) {
      std::array<std::byte, 16> ds64;  // sizes of RIFF and data; the rest is skipped
      if (size < ds64.size()) reader.fail("its ds64 chunk is too short");
      reader.exactly(ds64, "its ds64 chunk");
      rest -= std::int64_t(ds64.size());
      long_data_bytes = little_endian<std::uint64_t>(ds64.data() + 8);
    }
    reader.skip(rest, "a chunk before its audio");
  }
}

std::vector<std::byte> make_wav_header(const WavFormat& format) {
  const bool is_float =
      format.samples == SampleFormat::kFloat32 || format.samples == SampleFormat::kFloat64;
  const int frame_bytes = format.bytes_per_frame();
  constexpr std::uint64_t kFixedBytes = 4 + (8 + kDs64Bytes) + (8 + 16) + 8;  // after the RIFF size
  constexpr std::uint64_t kFactBytes = 12;
  const std::uint64_t before_data = kFixedBytes + (is_float ? kFactBytes : 0);

  const bool unknown = format.data_bytes < 0;
  const std::uint64_t data_bytes = unknown ? 0 : std::uint64_t(format.data_bytes);
  const std::uint64_t riff_bytes = before_data + data_bytes + data_bytes % 2;
  const std::uint64_t frames = data_bytes / std::uint64_t(frame_bytes);
  const bool rf64 = riff_bytes >= kUnknownSize;
  const auto short_size = [&](std::uint64_t size) -> std::uint64_t {
    return unknown || rf64 ? kUnknownSize : size;
  };

  HeaderWriter out;
  out.id(rf64 ? "RF64" : "RIFF");
  out.number(short_size(riff_bytes), 4);
  out.id("WAVE");
  out.id(rf64 ? "ds64" : "JUNK");  // room for ds64, should the file grow beyond 4 GiB
  out.number(kDs64Bytes, 4);
  out.number(rf64 ? riff_bytes : 0, 8);
  out.number(rf64 ? data_bytes : 0, 8);
  out.number(rf64 ? frames : 0, 8);
  out.number(0, 4);  // no table of further sizes
  out.id("fmt ");
  out.number(16, 4);
  out.number(is_float ? kTagFloat : kTagPcm, 2);
  out.number(std::uint64_t(format.channels), 2);
  out.number(std::uint64_t(format.rate_hz), 4);
  out.number(std::uint64_t(format.rate_hz) * std::uint64_t(frame_bytes), 4);
  out.number(std::uint64_t(frame_bytes), 2);
  out.number(std::uint64_t(8 * bytes_per_sample(format.samples)), 2);
  if (is_float) {
    out.id("fact");
    out.number(4, 4);
    out.number(short_size(frames), 4);
  }
  out.id("data");
  out.number(short_size(data_bytes), 4);
  return out.take();
}

}  // namespace runnel::rt
