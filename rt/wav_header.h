// WAV headers, read strictly from a stream and written for a stream.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "rt/sample_format.h"

namespace runnel::rt {

/// ADPCM: every channel's samples of `frames` frames lie in a block of their own start values.
struct AdpcmBlocks {
  std::vector<std::byte> fmt{};  // a whole fmt chunk, for who decodes them
  int bytes = 0;                 // of a block
  int frames = 0;                // of a block
};

struct WavFormat {
  SampleFormat samples = SampleFormat::kInt16;
  int rate_hz = 0;
  int channels = 0;
  std::int64_t data_bytes = -1;  // −1: unknown, until the end of the stream

  // Met in what others wrote:
  bool big_endian = false;             // RIFX
  std::optional<AdpcmBlocks> adpcm{};  // then `samples` says nothing

  int bytes_per_frame() const noexcept { return bytes_per_sample(samples) * channels; }
  /// The least that can be decoded by itself: a frame, or a block of ADPCM.
  int bytes_per_unit() const noexcept { return adpcm ? adpcm->bytes : bytes_per_frame(); }
  int frames_per_unit() const noexcept { return adpcm ? adpcm->frames : 1; }
  /// −1: unknown.
  std::int64_t frames() const noexcept;

  std::int64_t fact_frames = 0;  // of the fact chunk: how far ADPCM's last block is filled
};

/// Fills the span as far as it can; fewer bytes only at the end of the stream.
using ByteReader = std::function<std::size_t(std::span<std::byte>)>;

/// Whether these first bytes (at least 12) are those of a header that read_wav_header knows.
bool is_wav_header(std::span<const std::byte> first) noexcept;

/// Reads RIFF, RIFX, RF64, BW64 or Sony Wave64 up to the first byte of audio. Other chunks are
/// skipped. Sizes that nobody could know when the header was written mean until the end: 0, and
/// what recorders write into pipes, unless `file_bytes`, the size of the whole where it is known,
/// shows that they are true. Memory is constant. Throws std::runtime_error in one line that starts
/// with `name`.
WavFormat read_wav_header(const ByteReader& read, const std::string& name,
                          std::int64_t file_bytes = -1);

/// A header of the same length for any `data_bytes`, so that it can be rewritten in place: RIFF up
/// to 4 GiB, RF64 beyond, and 0xFFFFFFFF sizes for −1 (a stream).
std::vector<std::byte> make_wav_header(const WavFormat& format);

}  // namespace runnel::rt
