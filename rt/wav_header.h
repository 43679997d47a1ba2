// WAV headers, read strictly from a stream and written for a stream.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "rt/sample_format.h"

namespace runnel::rt {

struct WavFormat {
  SampleFormat samples = SampleFormat::kInt16;
  int rate_hz = 0;
  int channels = 0;
  std::int64_t data_bytes = -1;  // −1: unknown, until the end of the stream

  int bytes_per_frame() const noexcept { return bytes_per_sample(samples) * channels; }
};

/// Fills the span as far as it can; fewer bytes only at the end of the stream.
using ByteReader = std::function<std::size_t(std::span<std::byte>)>;

/// Reads RIFF, RF64 or BW64 up to the first byte of audio. Other chunks are skipped; sizes of 0 or
/// 0xFFFFFFFF mean until the end. Memory is constant. Throws std::runtime_error in one line that
/// starts with `name`.
WavFormat read_wav_header(const ByteReader& read, const std::string& name);

/// A header of the same length for any `data_bytes`, so that it can be rewritten in place: RIFF up
/// to 4 GiB, RF64 beyond, and 0xFFFFFFFF sizes for −1 (a stream).
std::vector<std::byte> make_wav_header(const WavFormat& format);

}  // namespace runnel::rt
