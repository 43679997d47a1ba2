#include "engine/packed_matrix.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine/kernels/number.h"

namespace runnel::engine {
namespace {

constexpr int kTileSteps = 16;

/// The words (4 bytes, a group each) of a row of halves.
template <std::uint16_t (*narrow)(float) noexcept>
void halves_of(const float* row, int words, std::uint32_t* out) {
  for (int i = 0; i < words; ++i) {
    out[i] = narrow(row[2 * i]) | std::uint32_t(narrow(row[2 * i + 1])) << 16;
  }
}

struct Quantized {
  float scale;
  std::int32_t sum;
};

/// The words of a row of int8: its largest magnitude becomes 127.
Quantized bytes_of(const float* row, int words, std::uint32_t* out) {
  const int n = 4 * words;
  std::int32_t bits = 0;  // of magnitudes, which order as their numbers do
  for (int i = 0; i < n; ++i) {
    bits = std::max(bits, std::bit_cast<std::int32_t>(row[i]) & 0x7FFFFFFF);
  }
  const float largest = std::bit_cast<float>(bits);
  if (largest < kSmallestRow) {
    std::fill(out, out + words, 0u);
    return {0, 0};
  }
  const float inverse = 127 / largest;
  std::int32_t sum = 0;
  for (int i = 0; i < words; ++i) {
    std::uint32_t word = 0;
    for (int g = 0; g < 4; ++g) {
      const std::int32_t q = round_to_int(row[4 * i + g] * inverse);
      sum += q;
      word |= (std::uint32_t(q) & 0xFFu) << 8 * g;
    }
    out[i] = word;
  }
  return {largest / 127, sum};
}

}  // namespace

PackedMatrix::PackedMatrix(int outputs, int inputs, Precision precision, MemoryUsage memory,
                           const std::function<void(int, std::span<float>)>& read_row)
    : outputs_(outputs), inputs_(inputs), precision_(precision) {
  if (outputs <= 0 || inputs <= 0) {
    throw std::invalid_argument("packed matrix: expected sizes above 0, found [" +
                                std::to_string(outputs) + ", " + std::to_string(inputs) + "]");
  }
  const int group = group_of(precision), tile = kTileSteps * group;
  steps_ = (inputs - 1) / tile * kTileSteps + kTileSteps;
  data_ = PageBuffer(std::size_t(panels()) * std::size_t(steps_) * 64,
                     memory == MemoryUsage::kPerformance);
  if (precision == Precision::kInt8) {
    scales_.assign(std::size_t(panels()) * kPanel, 0.0f);
    sums_.assign(scales_.size(), 0);
  }
  // A panel's rows as words, a cache line more than a row apart: 16 rows at a multiple of 4096
  // bytes would share a set of the cache.
  const int stride = steps_ + 16;
  std::vector<std::uint32_t> words(std::size_t(kPanel) * std::size_t(stride));
  std::vector<float> row(std::size_t(padded_inputs()), 0.0f);
  for (int p = 0; p < panels(); ++p) {
    for (int j = 0; j < kPanel; ++j) {
      const int o = p * kPanel + j;
      std::uint32_t* to = words.data() + j * stride;
      if (o >= outputs) {
        std::fill(to, to + steps_, 0u);
        continue;
      }
      read_row(o, {row.data(), std::size_t(inputs)});
      switch (precision) {
        case Precision::kFloat32:
          std::memcpy(to, row.data(), std::size_t(steps_) * 4);
          break;
        case Precision::kBFloat16:
          halves_of<bf16_of>(row.data(), steps_, to);
          break;
        case Precision::kFloat16:
          halves_of<f16_of>(row.data(), steps_, to);
          break;
        case Precision::kInt8: {
          const Quantized q = bytes_of(row.data(), steps_, to);
          scales_[std::size_t(o)] = q.scale;
          sums_[std::size_t(o)] = q.sum;
          break;
        }
      }
    }
    auto* to = reinterpret_cast<std::uint32_t*>(data_.data() + std::size_t(p) * steps_ * 64);
    for (int s = 0; s < steps_; ++s) {
      for (int j = 0; j < kPanel; ++j) to[s * kPanel + j] = words[std::size_t(j * stride + s)];
    }
  }
}

std::size_t PackedMatrix::bytes() const noexcept {
  return data_.size() + scales_.size() * sizeof(float) + sums_.size() * sizeof(std::int32_t);
}

void PackedMatrix::read_row(int output, float* row) const noexcept {
  const int group = group_of(precision_);
  const std::byte* words = panel(output / kPanel) + output % kPanel * 4;
  for (int i = 0; i < inputs_; ++i) {
    const std::byte* from = words + std::ptrdiff_t(i / group) * 64 + i % group * (4 / group);
    std::uint16_t half = 0;
    switch (precision_) {
      case Precision::kFloat32:
        std::memcpy(&row[i], from, sizeof(float));
        break;
      case Precision::kBFloat16:
        std::memcpy(&half, from, sizeof(half));
        row[i] = float_of_bf16(half);
        break;
      case Precision::kFloat16:
        std::memcpy(&half, from, sizeof(half));
        row[i] = float_of_f16(half);
        break;
      case Precision::kInt8:
        row[i] = float(std::int8_t(*from)) * scales_[std::size_t(output)];
        break;
    }
  }
}

}  // namespace runnel::engine
