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
constexpr std::uint16_t kTagMicrosoftAdpcm = 2;
constexpr std::uint16_t kTagFloat = 3;
constexpr std::uint16_t kTagALaw = 6;
constexpr std::uint16_t kTagMuLaw = 7;
constexpr std::uint16_t kTagImaAdpcm = 0x11;
constexpr std::uint16_t kTagExtensible = 0xFFFE;
/// Bytes 2 to 15 of the sub-format of WAVE_FORMAT_EXTENSIBLE; bytes 0 and 1 are the plain tag.
using SubFormatTail = std::array<unsigned char, 14>;
constexpr SubFormatTail kSubFormatTail = {0x00, 0x00, 0x00, 0x00, 0x10, 0x00, 0x80,
                                          0x00, 0x00, 0xAA, 0x00, 0x38, 0x9B, 0x71};
constexpr SubFormatTail kAmbisonicTail = {0x00, 0x00, 0x21, 0x07, 0xD3, 0x11, 0x86,
                                          0x44, 0xC8, 0xC1, 0xCA, 0x00, 0x00, 0x00};

/// Sony Wave64 names its chunks by GUIDs: four letters and one of these.
using GuidTail = std::array<unsigned char, 12>;
constexpr GuidTail kWave64RiffTail = {0x2E, 0x91, 0xCF, 0x11, 0xA5, 0xD6,
                                      0x28, 0xDB, 0x04, 0xC1, 0x00, 0x00};
constexpr GuidTail kWave64Tail = {0xF3, 0xAC, 0xD3, 0x11, 0x8C, 0xD1,
                                  0x00, 0xC0, 0x4F, 0x8E, 0xDB, 0x8A};
constexpr std::uint64_t kWave64ChunkBytes = 24;  // a chunk's size counts its own name and size

/// What is read of a fmt chunk: up to the end of WAVE_FORMAT_EXTENSIBLE.
constexpr std::size_t kMaxFmtBytes = 40;
constexpr std::size_t kMinFmtBytes = 16;
/// ds64 up to and with the size of the data chunk; the reserved JUNK chunk has its whole size.
constexpr std::uint32_t kDs64Bytes = 28;

template <class T>
T read_number(const std::byte* bytes, bool big_endian) {
  T value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    const std::size_t shift = 8 * (big_endian ? sizeof(T) - 1 - i : i);
    value = T(value | T(T(std::to_integer<unsigned char>(bytes[i])) << shift));
  }
  return value;
}

bool is(std::span<const std::byte> id, const char* name) {
  return std::memcmp(id.data(), name, 4) == 0;
}

/// Sizes of a header that was never finished: those of arecord (2 GiB), sox (2 GiB − 4 KiB),
/// GStreamer (2 GiB − 64 KiB) and ffmpeg (4 GiB − 1), and around them, since all may be rounded to
/// frames.
bool is_stream_size(std::uint32_t bytes) {
  return (bytes >= 0x7FFE0000 && bytes <= 0x80000100) || bytes >= 0xFFFF0000;
}

/// Reads a header in order and knows how to complain.
class HeaderReader {
 public:
  HeaderReader(const ByteReader& read, const std::string& name) : read_(read), name_(name) {}

  bool big_endian = false;
  std::int64_t position() const { return kMaxHeaderBytes - left_; }

  [[noreturn]] void fail(const std::string& what) const {
    throw std::runtime_error(name_ + ": not a WAV stream that can be read: " + what);
  }

  void exactly(std::span<std::byte> bytes, const char* what) {
    spend(std::int64_t(bytes.size()));
    if (read_(bytes) < bytes.size()) fail(std::string("it ends inside ") + what);
  }

  void skip(std::uint64_t size, const char* what) {
    std::array<std::byte, 512> scratch;
    while (size > 0) {
      const auto piece = std::size_t(std::min<std::uint64_t>(size, scratch.size()));
      exactly(std::span(scratch).first(piece), what);
      size -= piece;
    }
  }

  template <class T>
  T number(const std::byte* bytes) const {
    return read_number<T>(bytes, big_endian);
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

struct Fmt {
  std::uint16_t tag = 0;
  int channels = 0;
  std::uint32_t rate_hz = 0;
  int block_align = 0;
  int bits = 0;  // of a sample; a container may be wider
};

/// A container wider than the bits holds them at its upper end, but for what arecord calls S24_LE.
std::optional<SampleFormat> sample_format(const Fmt& fmt) {
  if (fmt.tag == kTagMuLaw) return SampleFormat::kMuLaw;
  if (fmt.tag == kTagALaw) return SampleFormat::kALaw;
  if (fmt.tag == kTagFloat && fmt.bits == 32) return SampleFormat::kFloat32;
  if (fmt.tag == kTagFloat && fmt.bits == 64) return SampleFormat::kFloat64;
  if (fmt.tag != kTagPcm || fmt.bits < 1 || fmt.bits > 32) return std::nullopt;
  if (fmt.bits <= 8) return SampleFormat::kInt8;
  if (fmt.bits <= 16) return SampleFormat::kInt16;
  if (fmt.bits > 24) return SampleFormat::kInt32;
  return fmt.block_align == 4 * fmt.channels ? SampleFormat::kInt24In32 : SampleFormat::kInt24;
}

/// The blocks of both kinds of ADPCM have the same size in each file, and 4 bits a sample.
std::optional<AdpcmBlocks> adpcm_blocks(const Fmt& fmt) {
  const bool microsoft = fmt.tag == kTagMicrosoftAdpcm;
  const int start_bytes = microsoft ? 7 : 4;  // of each channel
  const int start_frames = microsoft ? 2 : 1;
  const int left = fmt.block_align - start_bytes * fmt.channels;
  if (fmt.bits != 4 || left < 0) return std::nullopt;
  AdpcmBlocks blocks{.bytes = fmt.block_align, .frames = start_frames + 2 * left / fmt.channels};
  HeaderWriter out;
  out.number(fmt.tag, 2);
  out.number(std::uint64_t(fmt.channels), 2);
  out.number(fmt.rate_hz, 4);
  out.number(
      std::uint64_t(fmt.rate_hz) * std::uint64_t(blocks.bytes) / std::uint64_t(blocks.frames), 4);
  out.number(std::uint64_t(blocks.bytes), 2);
  out.number(4, 2);
  out.number(microsoft ? 32 : 2, 2);
  out.number(std::uint64_t(blocks.frames), 2);
  if (microsoft) {
    constexpr std::array<std::array<int, 2>, 7> kPredictors = {
        {{256, 0}, {512, -256}, {0, 0}, {192, 64}, {240, 0}, {460, -208}, {392, -232}}};
    out.number(kPredictors.size(), 2);
    for (const auto& pair : kPredictors) {
      for (const int coefficient : pair) out.number(std::uint64_t(std::int64_t(coefficient)), 2);
    }
  }
  blocks.fmt = out.take();
  return blocks;
}

WavFormat parse_fmt(std::span<const std::byte> bytes, const HeaderReader& reader) {
  Fmt fmt{.tag = reader.number<std::uint16_t>(bytes.data()),
          .channels = reader.number<std::uint16_t>(bytes.data() + 2),
          .rate_hz = reader.number<std::uint32_t>(bytes.data() + 4),
          .block_align = reader.number<std::uint16_t>(bytes.data() + 12),
          .bits = reader.number<std::uint16_t>(bytes.data() + 14)};
  if (fmt.tag == kTagExtensible) {
    if (bytes.size() < kMaxFmtBytes) reader.fail("its extensible fmt chunk is too short");
    const auto has_tail = [&](const SubFormatTail& tail) {
      return std::memcmp(bytes.data() + 26, tail.data(), tail.size()) == 0;
    };
    if (!has_tail(kSubFormatTail) && !has_tail(kAmbisonicTail)) {
      reader.fail("an unknown extensible sub-format");
    }
    fmt.tag = reader.number<std::uint16_t>(bytes.data() + 24);
  }
  if (fmt.channels < 1 || fmt.channels > kMaxChannels) {
    reader.fail("expected 1 to " + std::to_string(kMaxChannels) + " channels, found " +
                std::to_string(fmt.channels));
  }
  if (fmt.rate_hz < 1 || fmt.rate_hz > std::uint32_t(kMaxRateHz)) {
    reader.fail("expected a rate of 1 to " + std::to_string(kMaxRateHz) + " Hz, found " +
                std::to_string(fmt.rate_hz));
  }
  WavFormat format{
      .rate_hz = int(fmt.rate_hz), .channels = fmt.channels, .big_endian = reader.big_endian};
  if (const auto samples = sample_format(fmt)) {
    // Frames are as long as their samples: the block align, which says so again, is wrong in files
    // that everybody else reads.
    format.samples = *samples;
    return format;
  }
  const bool is_adpcm = fmt.tag == kTagImaAdpcm || fmt.tag == kTagMicrosoftAdpcm;
  if (is_adpcm && !reader.big_endian) format.adpcm = adpcm_blocks(fmt);
  if (!format.adpcm) {
    reader.fail("expected PCM of 1 to 32 bits, float of 32 or 64, mu-law, A-law or ADPCM, found " +
                std::string("format ") + std::to_string(fmt.tag) + " of " +
                std::to_string(fmt.bits) + " bits in blocks of " + std::to_string(fmt.block_align) +
                " bytes");
  }
  return format;
}

/// The chunks of one of the containers, up to the audio.
class Container {
 public:
  Container(HeaderReader& reader, std::int64_t file_bytes)
      : reader_(reader), file_bytes_(file_bytes) {
    std::array<std::byte, 12> first;
    reader_.exactly(first, "the RIFF header");
    const std::span<const std::byte> magic = std::span(first).first(4);
    if (!is_wav_header(first)) {
      reader_.fail("expected RIFF, RIFX, RF64 or Wave64 with WAVE, found " + printable(magic));
    }
    reader_.big_endian = is(magic, "RIFX");
    long_sizes_ = is(magic, "RF64") || is(magic, "BW64");
    wave64_ = is(magic, "riff");
    if (!wave64_) {
      riff_bytes_ = reader_.number<std::uint32_t>(first.data() + 4);
      return;
    }
    std::array<std::byte, 28> rest;  // of the GUID, its size, and another GUID
    reader_.exactly(rest, "the Wave64 header");
    const std::span<const std::byte> form = std::span(rest).subspan(12);
    if (!is(form, "wave") || std::memcmp(form.data() + 4, kWave64Tail.data(), 12) != 0) {
      reader_.fail("expected Wave64 with 'wave', found " + printable(form.first(4)));
    }
    riff_bytes_ = reader_.number<std::uint64_t>(rest.data() + 4);
  }

  struct Chunk {
    std::array<std::byte, 4> id;
    std::uint64_t bytes = 0;  // of what follows
    std::uint64_t padding = 0;
    bool is(const char* name) const { return rt::is(id, name); }
  };

  /// `what`: for the message at the end of the stream.
  Chunk next(const char* what) {
    Chunk chunk;
    std::array<std::byte, kWave64ChunkBytes> header;
    reader_.exactly(std::span(header).first(wave64_ ? header.size() : 8), what);
    std::copy_n(header.begin(), chunk.id.size(), chunk.id.begin());
    if (!wave64_) {
      chunk.bytes = reader_.number<std::uint32_t>(header.data() + 4);
      chunk.padding = chunk.bytes % 2;
      return chunk;
    }
    const auto size = reader_.number<std::uint64_t>(header.data() + 16);
    chunk.bytes = size < kWave64ChunkBytes ? 0 : size - kWave64ChunkBytes;
    chunk.padding = (8 - chunk.bytes % 8) % 8;
    return chunk;
  }

  /// Sizes of the whole and of its data, which Chunk::bytes has no room for.
  void take_ds64(const std::array<std::byte, 16>& ds64) {
    riff_bytes_ = reader_.number<std::uint64_t>(ds64.data());
    long_data_bytes_ = reader_.number<std::uint64_t>(ds64.data() + 8);
  }
  bool has_long_sizes() const { return long_sizes_; }

  /// Of the data chunk, at its first byte; −1: until the end.
  std::int64_t data_bytes(const Chunk& data) const {
    std::uint64_t bytes = data.bytes;
    if (long_sizes_ && bytes == kUnknownSize) {
      bytes = long_data_bytes_;
    } else if (!wave64_ && !is_shown_by_the_file(bytes) && is_stream_size(std::uint32_t(bytes))) {
      return -1;
    }
    if (bytes > std::uint64_t(std::numeric_limits<std::int64_t>::max()) / 2) return -1;
    // A recording of no length, or one that nobody finished: then nothing says that more follows.
    constexpr std::uint64_t kMostTags = 1 << 16;  // what is more, behind "no audio", is audio
    const std::uint64_t all = whole_bytes();
    const auto here = std::uint64_t(reader_.position());
    const bool more = all > here && all - here <= kMostTags &&
                      (wave64_ || long_sizes_ || !is_stream_size(std::uint32_t(riff_bytes_)));
    return bytes == 0 && !more ? -1 : std::int64_t(bytes);
  }

 private:
  std::uint64_t whole_bytes() const { return wave64_ ? riff_bytes_ : riff_bytes_ + 8; }
  /// Whether RIFF's size is the file's, and data of so many bytes fits in. Some don't count the
  /// byte that makes the size even.
  bool is_shown_by_the_file(std::uint64_t data_bytes) const {
    const std::uint64_t all = whole_bytes();
    return file_bytes_ >= 0 && all <= std::uint64_t(file_bytes_) + 1 &&
           all + 1 >= std::uint64_t(file_bytes_) &&
           std::uint64_t(reader_.position()) + data_bytes <= all + 1;
  }

  HeaderReader& reader_;
  const std::int64_t file_bytes_;  // −1: unknown
  bool long_sizes_ = false;
  bool wave64_ = false;
  std::uint64_t riff_bytes_ = 0;
  std::uint64_t long_data_bytes_ = 0;
};

}  // namespace

bool is_wav_header(std::span<const std::byte> first) noexcept {
  if (first.size() < 12) return false;
  if (is(first, "riff")) {
    return std::memcmp(first.data() + 4, kWave64RiffTail.data(), 8) == 0;  // all that is there
  }
  return (is(first, "RIFF") || is(first, "RIFX") || is(first, "RF64") || is(first, "BW64")) &&
         is(first.subspan(8), "WAVE");
}

std::int64_t WavFormat::frames() const noexcept {
  if (data_bytes < 0) return -1;
  // A last block of ADPCM may be cut short, and is filled up to what the fact chunk says.
  const std::int64_t units = (data_bytes + (adpcm ? adpcm->bytes - 1 : 0)) / bytes_per_unit();
  const std::int64_t most = units * frames_per_unit();
  const bool fits = fact_frames <= most && fact_frames > most - frames_per_unit();
  return adpcm && fits ? fact_frames : most;
}

WavFormat read_wav_header(const ByteReader& read, const std::string& name,
                          std::int64_t file_bytes) {
  HeaderReader reader(read, name);
  Container container(reader, file_bytes);
  std::optional<WavFormat> format;
  std::int64_t fact_frames = 0;
  for (;;) {
    const auto chunk =
        container.next(format ? "the chunks before its audio" : "the chunks before its format");
    if (chunk.is("data")) {
      if (!format) reader.fail("its audio comes before its format");
      format->data_bytes = container.data_bytes(chunk);
      format->fact_frames = fact_frames;
      return *std::move(format);
    }

    std::uint64_t rest = chunk.bytes;
    if (chunk.is("fmt ")) {
      if (format) reader.fail("two formats");
      std::array<std::byte, kMaxFmtBytes> fmt;
      const auto known = std::size_t(std::min<std::uint64_t>(chunk.bytes, fmt.size()));
      if (known < kMinFmtBytes) reader.fail("its fmt chunk is too short");
      reader.exactly(std::span(fmt).first(known), "its fmt chunk");
      rest -= known;
      format = parse_fmt(std::span(fmt).first(known), reader);
    } else if (chunk.is("ds64") && container.has_long_sizes()) {
      std::array<std::byte, 16> ds64;  // sizes of RIFF and data; the rest is skipped
      if (chunk.bytes < ds64.size()) reader.fail("its ds64 chunk is too short");
      reader.exactly(ds64, "its ds64 chunk");
      rest -= ds64.size();
      container.take_ds64(ds64);
    } else if (chunk.is("fact") && chunk.bytes >= 4) {
      std::array<std::byte, 4> fact;  // of Wave64 the lower half
      reader.exactly(fact, "its fact chunk");
      rest -= fact.size();
      fact_frames = reader.number<std::uint32_t>(fact.data());
    }
    reader.skip(rest, "a chunk before its audio");
    reader.skip(chunk.padding, "a chunk before its audio");
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
