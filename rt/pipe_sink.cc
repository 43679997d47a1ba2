#include <csignal>
#include <stdexcept>
#include <system_error>

#include "rt/byte_writer.h"
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
  bytes_ = make_wav_header(
      {.samples = options.format, .rate_hz = options.rate_hz, .channels = options.channels});
  write_bytes();
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
