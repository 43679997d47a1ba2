#include "rt/sample_format.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace runnel::rt {
namespace {

static_assert(std::endian::native == std::endian::little, "samples are copied as they lie");

template <class T>
T load(const std::byte* bytes) noexcept {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

std::int32_t load_int24(const std::byte* bytes) noexcept {
  const auto low = std::to_integer<std::uint32_t>(bytes[0]);
  const auto middle = std::to_integer<std::uint32_t>(bytes[1]);
  const auto high = std::to_integer<std::uint32_t>(bytes[2]);
  return std::int32_t(low << 8 | middle << 16 | high << 24) >> 8;  // extends the sign
}

/// Exactly +1 is not counted as clipped, though it is one step beyond the largest integer.
std::int32_t quantize(float sample, float full_scale, std::int64_t& clipped) noexcept {
  if (!(std::fabs(sample) <= 1.0F)) {
    ++clipped;
    if (std::isnan(sample)) return 0;
    sample = std::copysign(1.0F, sample);
  }
  // In double, because 2²³ − 1 steps and the rounding exceed a float's mantissa.
  return std::int32_t(std::lrint(std::min(double(sample) * full_scale, full_scale - 1.0)));
}

}  // namespace

int bytes_per_sample(SampleFormat format) noexcept {
  switch (format) {
    case SampleFormat::kInt8:
      return 1;
    case SampleFormat::kInt16:
      return 2;
    case SampleFormat::kInt24:
      return 3;
    case SampleFormat::kInt32:
    case SampleFormat::kFloat32:
      return 4;
    case SampleFormat::kFloat64:
      return 8;
  }
  return 0;
}

void decode_samples(SampleFormat format, const std::byte* bytes,
                    std::span<float> samples) noexcept {
  const int step = bytes_per_sample(format);
  for (float& sample : samples) {
    switch (format) {
      case SampleFormat::kInt8:
        sample = (float(std::to_integer<int>(*bytes)) - 128.0F) / 128.0F;
        break;
      case SampleFormat::kInt16:
        sample = float(load<std::int16_t>(bytes)) / 32768.0F;
        break;
      case SampleFormat::kInt24:
        sample = float(load_int24(bytes)) / 8388608.0F;
        break;
      case SampleFormat::kInt32:
        sample = float(load<std::int32_t>(bytes)) / 2147483648.0F;
        break;
      case SampleFormat::kFloat32:
        sample = load<float>(bytes);
        break;
      case SampleFormat::kFloat64:
        sample = float(load<double>(bytes));
        break;
    }
    bytes += step;
  }
}

std::int64_t quantize_samples(int bits, std::span<const float> samples,
                              std::int32_t* integers) noexcept {
  const float full_scale = std::ldexp(1.0F, bits - 1);
  std::int64_t clipped = 0;
  for (const float sample : samples) *integers++ = quantize(sample, full_scale, clipped);
  return clipped;
}

std::int64_t encode_samples(SampleFormat format, std::span<const float> samples,
                            std::byte* bytes) noexcept {
  if (format == SampleFormat::kFloat32) {
    std::memcpy(bytes, samples.data(), samples.size_bytes());
    return 0;
  }
  const int step = bytes_per_sample(format);
  const float full_scale = std::ldexp(1.0F, 8 * step - 1);
  std::int64_t clipped = 0;
  for (const float sample : samples) {
    const std::int32_t integer = quantize(sample, full_scale, clipped);
    std::memcpy(bytes, &integer, std::size_t(step));
    bytes += step;
  }
  return clipped;
}

}  // namespace runnel::rt
