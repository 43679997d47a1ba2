#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "rt/byte_writer.h"
#include "rt/descriptor.h"
#include "rt/sink.h"
#include "rt/wav_header.h"

namespace runnel::rt {

PipeSink::PipeSink(const PipeSinkOptions& options, int descriptor, const std::string& name)
    : options_(options), descriptor_(descriptor), name_(name) {
  if (options.rate_hz < 1 || options.channels < 1) {
    throw std::runtime_error(name + ": expected at least one channel and 1 Hz, found " +
                             std::to_string(options.channels) + " channels at " +
                             std::to_string(options.rate_hz) + " Hz");
  }
  std::signal(SIGPIPE, SIG_IGN);
  if (!options.wav_header) return;
  bytes_ = make_wav_header(format());
  write_bytes();
  struct stat status {};
  if (fstat(descriptor_, &status) != 0 || !S_ISREG(status.st_mode)) return;
  const off_t end = lseek(descriptor_, 0, SEEK_CUR);  // behind what was there, if it is appended to
  if (end >= off_t(bytes_.size())) header_at_ = end - off_t(bytes_.size());
}

WavFormat PipeSink::format() const {
  return {.samples = options_.format, .rate_hz = options_.rate_hz, .channels = options_.channels};
}

void PipeSink::finish() {
  const std::int64_t header_at = std::exchange(header_at_, -1);
  if (header_at < 0) return;
  WavFormat whole = format();
  whole.data_bytes = written_frames_ * whole.bytes_per_frame();
  if (whole.data_bytes % 2 == 1) {
    bytes_.assign(1, std::byte{0});
    write_bytes();
  }
  // Opened anew: a descriptor that appends would put the header at the end. Where there is no
  // /proc, the header stays a stream's, which every reader of pipes takes.
  const std::string path = "/proc/self/fd/" + std::to_string(descriptor_);
  const Descriptor file(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (file.get() < 0) return;
  try {
    write_all_at(file.get(), make_wav_header(whole), header_at);
  } catch (const std::system_error& error) {
    throw std::runtime_error(
        name_ + ": the sizes cannot be written into the header: " + error.code().message());
  }
}

void PipeSink::write(const float* interleaved, int frames) {
  if (frames <= 0) return;
  const std::size_t samples = std::size_t(frames) * std::size_t(options_.channels);
  bytes_.resize(samples * std::size_t(bytes_per_sample(options_.format)));
  clipped_samples_ += encode_samples(options_.format, {interleaved, samples}, bytes_.data());
  write_bytes();
  written_frames_ += frames;
}

void PipeSink::write_bytes() {
  try {
    write_all(descriptor_, bytes_);
  } catch (const std::system_error& error) {
    const std::string what =
        error.code() == std::errc::broken_pipe ? "the reader has gone" : error.code().message();
    throw std::runtime_error(name_ + ": cannot be written further after " +
                             format_seconds(written_frames_, options_.rate_hz) +
                             " of audio: " + what);
  }
}

}  // namespace runnel::rt
