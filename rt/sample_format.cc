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

/// ITU-T G.711: sign, three bits of exponent, four of mantissa, all inverted. Of 16 bits.
int mu_law(std::byte code) noexcept {
  const int bits = ~std::to_integer<int>(code);
  const int magnitude = (((bits & 0x0F) << 3) + 132) << (bits >> 4 & 7);
  return (bits & 0x80) != 0 ? 132 - magnitude : magnitude - 132;
}

/// The same with every second bit inverted and no bias in the lowest segment.
int a_law(std::byte code) noexcept {
  const int bits = std::to_integer<int>(code) ^ 0x55;
  const int exponent = bits >> 4 & 7;
  const int mantissa = ((bits & 0x0F) << 4) + 8;
  const int magnitude = exponent == 0 ? mantissa : (mantissa + 256) << (exponent - 1);
  return (bits & 0x80) != 0 ? magnitude : -magnitude;
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
    case SampleFormat::kMuLaw:
    case SampleFormat::kALaw:
      return 1;
    case SampleFormat::kInt16:
      return 2;
    case SampleFormat::kInt24:
      return 3;
    case SampleFormat::kInt32:
    case SampleFormat::kInt24In32:
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
      case SampleFormat::kInt24In32:
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
      case SampleFormat::kMuLaw:
        sample = float(mu_law(*bytes)) / 32768.0F;
        break;
      case SampleFormat::kALaw:
        sample = float(a_law(*bytes)) / 32768.0F;
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
