#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <stdexcept>
#include <system_error>

#include "rt/source.h"

namespace runnel::rt {

PipeSource::PipeSource(int descriptor, const PipeFormat& format, const std::string& name,
                       const Interrupt* stop)
    : AudioSource({.name = name, .rate_hz = format.rate_hz, .channels = format.channels}, stop),
      descriptor_(descriptor) {
  if (format.raw) {
    if (format.rate_hz < 1 || format.channels < 1) {
      throw std::runtime_error(name + ": raw samples need a rate and a channel count, found " +
                               std::to_string(format.rate_hz) + " Hz and " +
                               std::to_string(format.channels) + " channels");
    }
    encoding_ = {.samples = *format.raw, .rate_hz = format.rate_hz, .channels = format.channels};
    return;
  }
  encoding_ = read_wav_header(
      [this](std::span<std::byte> bytes) {
        const std::size_t got = fill(bytes.data(), bytes.size());
        if (was_cut()) throw Interrupted(this->name() + ": interrupted before any audio came");
        return got;
      },
      name);
  format_.rate_hz = encoding_.rate_hz;
  format_.channels = encoding_.channels;
  if (encoding_.data_bytes >= 0) {
    format_.frames = encoding_.data_bytes / encoding_.bytes_per_frame();
  }
}

void PipeSource::cancel() noexcept {
  AudioSource::cancel();
  cancel_.request();
}

bool PipeSource::wait_readable() noexcept {
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

std::size_t PipeSource::fill(std::byte* bytes, std::size_t size) {
  std::size_t got = 0;
  while (got < size && !at_end_ && wait_readable()) {
    const ssize_t count = ::read(descriptor_, bytes + got, size - got);
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (count < 0) {
      throw std::runtime_error(name() + ": read error after " + std::to_string(read_frames_) +
                               " frames: " + std::generic_category().message(errno));
    }
    at_end_ = count == 0;
    got += std::size_t(count);
  }
  return got;
}

int PipeSource::read(float* interleaved, int max_frames) {
  const auto frame_bytes = std::size_t(encoding_.bytes_per_frame());
  std::int64_t wanted = std::max(max_frames, 0);
  if (frames() >= 0) wanted = std::min(wanted, frames() - read_frames_);
  buffer_.resize(std::max(buffer_.size(), std::size_t(wanted) * frame_bytes));

  const std::size_t bytes = fill(buffer_.data(), std::size_t(wanted) * frame_bytes);
  const auto got = int(bytes / frame_bytes);
  decode_samples(encoding_.samples, buffer_.data(),
                 {interleaved, std::size_t(got) * std::size_t(channels())});
  repair(interleaved, std::int64_t(got) * channels());
  read_frames_ += got;

  if (got < wanted && at_end_ && damage_.empty()) {
    if (frames() >= 0) {
      damage_ = "ends after " + std::to_string(read_frames_) + " of " + std::to_string(frames()) +
                " frames";
    }
    if (const std::size_t rest = bytes % frame_bytes; rest > 0) {
      damage_ += (damage_.empty() ? "" : ", ") + std::string("with ") + std::to_string(rest) +
                 " bytes of a partial frame at the end, which were dropped";
    }
  }
  return got;
}

}  // namespace runnel::rt
