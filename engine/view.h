// The plain structs that pass between rooms: a borrowed view and a time.
#pragma once

#include <complex>
#include <cstddef>
#include <cstdint>
#include <span>

namespace runnel {

/// A position in a stream, in samples since its start. It travels with the data, so time stamps and
/// latency need no side channel. `index` may be negative in padding before the first sample.
struct SampleTime {
  std::int64_t index = 0;
  int rate_hz = 0;

  double seconds() const noexcept { return rate_hz > 0 ? double(index) / rate_hz : 0.0; }
};

/// A borrowed row-major matrix [rows, cols] whose rows lie `stride` elements apart.
template <class T>
struct MatrixView {
  T* data = nullptr;
  int rows = 0;
  int cols = 0;
  std::ptrdiff_t stride = 0;

  std::span<T> row(int r) const noexcept { return {data + r * stride, std::size_t(cols)}; }
  /// Columns [first, first + count) of every row.
  MatrixView columns(int first, int count) const noexcept {
    return {data + first, rows, count, stride};
  }
  operator MatrixView<const T>() const noexcept { return {data, rows, cols, stride}; }
};

/// Consecutive samples of every channel; full scale is −1 to 1.
struct AudioChunk {
  MatrixView<const float> samples;  // [channels, n]
  SampleTime start;                 // of samples.col(0)

  int channels() const noexcept { return samples.rows; }
  int frames() const noexcept { return samples.cols; }
};

/// One STFT column of every channel.
struct SpectrumFrame {
  MatrixView<const std::complex<float>> bins;  // [channels, n_fft / 2 + 1]
  SampleTime start;                            // first sample under the window, negative in padding
  std::int64_t end =
      0;  // one past the last real sample under the window; < start + n_fft at the end
};

/// Separated sources, time-aligned with each other and with the input.
struct Stems {
  MatrixView<const float> samples;  // [stems · channels, n]: all channels of stem 0 come first
  int channels = 0;                 // of a stem
  SampleTime start;                 // of samples.col(0)

  int count() const noexcept { return channels > 0 ? samples.rows / channels : 0; }
  int frames() const noexcept { return samples.cols; }
  AudioChunk stem(int i) const noexcept {
    return {{samples.data + i * channels * samples.stride, channels, samples.cols, samples.stride},
            start};
  }
};

}  // namespace runnel
