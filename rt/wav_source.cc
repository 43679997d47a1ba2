#include "rt/wav_source.h"

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <span>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "rt/adpcm.h"

namespace runnel::rt {
namespace {

constexpr int kFileFrames = 4096;

bool is_float_format(SampleFormat samples) {
  return samples == SampleFormat::kFloat32 || samples == SampleFormat::kFloat64;
}

/// What is left of a regular file from where it is read; −1: not one.
std::int64_t bytes_to_come(int descriptor) {
  struct stat status {};
  if (fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) return -1;
  const off_t position = lseek(descriptor, 0, SEEK_CUR);
  return position < 0 ? -1 : std::max<std::int64_t>(status.st_size - position, 0);
}

constexpr std::int64_t kLookedThrough = 64 << 20;  // bytes of a file, for where its 24 bits lie

/// True where bytes hold 24 bits at the upper end of each 32: the uppermost byte then is more than
/// a sign. False at the lower end (arecord's S24_LE): the lowest one then is not 0. Nothing where
/// the samples tell neither: silence, or what is faint at the upper or of 16 bits at the lower end.
std::optional<bool> is_left_justified(std::span<const std::byte> bytes, bool big_endian) {
  for (std::size_t i = 0; i + 4 <= bytes.size(); i += 4) {
    const auto byte = [&](std::size_t n) { return bytes[i + (big_endian ? 3 - n : n)]; };
    if (byte(0) != std::byte{0}) return false;
    const std::byte sign =
        (byte(2) & std::byte{0x80}) != std::byte{0} ? std::byte{0xFF} : std::byte{0};
    if (byte(3) != sign) return true;
  }
  return std::nullopt;
}

}  // namespace

WavSource::WavSource(int descriptor, const PipeFormat& format, const std::string& name,
                     const Interrupt* stop)
    : AudioSource({.name = name, .rate_hz = format.rate_hz, .channels = format.channels}, stop),
      descriptor_(descriptor),
      is_raw_(format.raw.has_value()),
      is_file_(bytes_to_come(descriptor) >= 0) {
  if (is_raw_) {
    if (format.rate_hz < 1 || format.channels < 1) {
      throw std::runtime_error(name + ": raw samples need a rate and a channel count, found " +
                               std::to_string(format.rate_hz) + " Hz and " +
                               std::to_string(format.channels) + " channels");
    }
    format_.is_float = is_float_format(*format.raw);
    encoding_ = {.samples = *format.raw, .rate_hz = format.rate_hz, .channels = format.channels};
    return;
  }
  encoding_ = read_wav_header(
      [this](std::span<std::byte> bytes) {
        const std::size_t got = fill(bytes.data(), bytes.size());
        if (was_cut()) throw Interrupted(this->name() + ": interrupted before any audio came");
        return got;
      },
      name, bytes_to_come(descriptor));
  if (encoding_.adpcm && !can_decode_adpcm(encoding_)) {
    throw std::runtime_error(
        name + ": expected ADPCM of 1 or 2 channels in blocks of at most 65535 frames, found " +
        std::to_string(encoding_.channels) + " channels in blocks of " +
        std::to_string(encoding_.adpcm->frames) + " frames (" +
        std::to_string(encoding_.adpcm->bytes) + " bytes)");
  }
  format_.rate_hz = encoding_.rate_hz;
  format_.channels = encoding_.channels;
  format_.is_float = is_float_format(encoding_.samples);
  bytes_left_ = encoding_.data_bytes;
  // Where the header doesn't know it, the size of a file does.
  if (bytes_left_ < 0) encoding_.data_bytes = bytes_to_come(descriptor);
  format_.frames = encoding_.frames();
  if (encoding_.samples == SampleFormat::kInt24In32) look_for_24_bits();
}

void WavSource::look_for_24_bits() {
  if (!is_file_) return;  // a pipe: what comes decides
  std::int64_t position = lseek(descriptor_, 0, SEEK_CUR);
  const std::int64_t end = position + std::min(encoding_.data_bytes, kLookedThrough);
  std::vector<std::byte> bytes(1 << 16);  // whole samples
  while (!settled_ && position < end && !cancelled()) {
    const auto wanted =
        std::size_t(std::min<std::int64_t>(end - position, std::int64_t(bytes.size())));
    const ssize_t got = pread(descriptor_, bytes.data(), wanted, off_t(position));
    if (got < 4) return;
    settle_24_bits(std::span(bytes).first(std::size_t(got)), encoding_.big_endian);
    position += got - got % 4;
  }
}

void WavSource::settle_24_bits(std::span<const std::byte> bytes, bool big_endian) {
  const auto left = is_left_justified(bytes, big_endian);
  settled_ = left.has_value();
  if (left.value_or(false)) encoding_.samples = SampleFormat::kInt32;
}

void WavSource::cancel() noexcept {
  AudioSource::cancel();
  cancel_.request();
}

bool WavSource::wait_readable() noexcept {
  // A read on a silent pipe could not be cancelled. poll() passes over descriptors below 0.
  std::array<pollfd, 3> waiting = {
      pollfd{.fd = descriptor_, .events = POLLIN, .revents = 0},
      pollfd{.fd = cancel_.descriptor(), .events = POLLIN, .revents = 0},
      pollfd{.fd = stop_ ? stop_->descriptor() : -1, .events = POLLIN, .revents = 0}};
  while (!cancelled()) {
    if (poll(waiting.data(), waiting.size(), -1) > 0 && waiting[0].revents != 0) {
      return !cancelled();
    }
  }
  return false;
}

std::size_t WavSource::fill(std::byte* bytes, std::size_t size) {
  std::size_t got = 0;
  while (got < size && !at_end_ && wait_readable()) {
    const ssize_t count = ::read(descriptor_, bytes + got, size - got);
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (count < 0 && got > 0) break;  // the next read tells
    if (count < 0) {
      throw std::runtime_error(name() + ": read error after " + std::to_string(decoded_frames_) +
                               " frames: " + std::generic_category().message(errno));
    }
    at_end_ = count == 0;
    got += std::size_t(count);
  }
  return got;
}

void WavSource::decode(std::size_t bytes) {
  const auto sample_bytes = std::size_t(bytes_per_sample(encoding_.samples));
  if (encoding_.big_endian && sample_bytes > 1) {
    for (std::size_t i = 0; i + sample_bytes <= bytes; i += sample_bytes) {
      std::reverse(buffer_.begin() + std::ptrdiff_t(i),
                   buffer_.begin() + std::ptrdiff_t(i + sample_bytes));
    }
  }
  if (encoding_.samples == SampleFormat::kInt24In32 && !settled_) {
    settle_24_bits(std::span(buffer_).first(bytes), false);
  }
  decoded_.resize(bytes / sample_bytes);
  decode_samples(encoding_.samples, buffer_.data(), decoded_);
}

void WavSource::refill(int frames) {
  // A file need not be waited for: fewer and larger reads.
  if (is_file_) frames *= std::max(1, kFileFrames / frames);
  const auto unit_bytes = std::size_t(encoding_.bytes_per_unit());
  const auto units =
      std::size_t((frames + encoding_.frames_per_unit() - 1) / encoding_.frames_per_unit());
  std::size_t wanted = units * unit_bytes;
  if (bytes_left_ >= 0) {
    wanted = std::size_t(std::min(std::int64_t(wanted), bytes_left_));
  }
  buffer_.resize(std::max(buffer_.size(), wanted));
  const std::size_t bytes = fill(buffer_.data(), wanted);
  if (bytes_left_ >= 0) bytes_left_ -= std::int64_t(bytes);

  std::size_t rest = 0;
  decoded_at_ = 0;
  if (encoding_.adpcm) {
    decoded_ = decode_adpcm(encoding_, std::span(buffer_).first(bytes));
    if (decoded_.empty() && bytes >= std::size_t(encoding_.adpcm->bytes)) {
      throw std::runtime_error(name() + ": its ADPCM can't be decoded");  // it isn't the end
    }
    if (this->frames() >= 0) {
      const std::int64_t most = (this->frames() - decoded_frames_) * channels();
      decoded_.resize(std::size_t(std::min(std::int64_t(decoded_.size()), most)));
    }
  } else {
    rest = bytes % unit_bytes;
    decode(bytes - rest);
  }
  repair(decoded_.data(), std::int64_t(decoded_.size()));
  decoded_frames_ += std::int64_t(decoded_.size()) / channels();
  if (bytes < wanted && at_end_) tell_the_end(rest);
}

void WavSource::tell_the_end(std::size_t rest) {
  if (std::exchange(told_, true)) return;
  std::string what;
  if (frames() > decoded_frames_) {
    what = "ends after " + std::to_string(decoded_frames_) + " of " + std::to_string(frames()) +
           " frames";
  }
  // A byte that makes the size even ends many streams whose header could not say where.
  if (rest > 1 || (rest == 1 && (is_raw_ || bytes_left_ >= 0))) {
    what += (what.empty() ? "" : ", ") + std::string("with ") + std::to_string(rest) +
            " bytes of a partial frame at the end, which were dropped";
  }
  if (!what.empty()) add_damage(what);
}

int WavSource::read(float* interleaved, int max_frames) {
  if (max_frames <= 0) return 0;
  if (decoded_at_ == decoded_.size()) refill(max_frames);
  const auto channel_count = std::size_t(channels());
  const std::size_t samples =
      std::min(std::size_t(max_frames) * channel_count, decoded_.size() - decoded_at_);
  std::copy_n(decoded_.begin() + std::ptrdiff_t(decoded_at_), samples, interleaved);
  decoded_at_ += samples;
  return int(samples / channel_count);
}

}  // namespace runnel::rt
