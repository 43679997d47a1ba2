#include "rt/source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <stdexcept>
#include <system_error>
#include <vector>

#include "engine/clean_samples.h"

namespace runnel::rt {
namespace {

void check_is_no_terminal(int descriptor, const std::string& name) {
  if (isatty(descriptor) != 1) return;
  throw std::runtime_error(name + ": expected audio from a pipe, found a terminal");
}

struct OpenPipe {
  /// Does not wait for a writer: reading does, which can be cancelled.
  explicit OpenPipe(const std::string& path)
      : descriptor(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY)) {
    if (descriptor >= 0) return;
    throw std::runtime_error(path +
                             ": cannot be opened: " + std::generic_category().message(errno));
  }
  ~OpenPipe() { close(descriptor); }
  OpenPipe(const OpenPipe&) = delete;
  OpenPipe& operator=(const OpenPipe&) = delete;

  const int descriptor;
};

/// A PipeSource that closes its pipe; the pipe is opened first and closed last.
class NamedPipeSource : private OpenPipe, public PipeSource {
 public:
  NamedPipeSource(const std::string& path, const PipeFormat& format, const Interrupt* stop)
      : OpenPipe(path),
        PipeSource((check_is_no_terminal(descriptor, path), descriptor), format, path, stop) {}
};

}  // namespace

std::string AudioSource::warning() const {
  std::string text = damage_;
  const auto add = [&](const std::string& more) { text += (text.empty() ? "" : "; ") + more; };
  if (bad_samples_ > 0) add(bad_samples_text(bad_samples_));
  const std::string peak = std::to_string(int(scale_.peak()));
  if (gain_ != 1) {
    add("floats at the scale of 16-bit samples (peak " + peak + ") were divided by 32768");
  } else if (scale_.is_16_bit()) {
    add("floats belong within 1; these look like 16-bit samples (peak " + peak +
        "), to be divided by 32768");
  }
  return text.empty() ? text : name() + ": " + text;
}

void AudioSource::repair(float* samples, std::int64_t count) noexcept {
  scale_.add(samples, count);
  if (gain_ != 1) {
    for (std::int64_t i = 0; i < count; ++i) samples[i] *= gain_;
  }
  bad_samples_ += copy_clean(samples, count, samples);
}

bool is_pipe(const std::string& path_or_dash) noexcept {
  if (path_or_dash == "-") return true;
  struct stat status {};
  return stat(path_or_dash.c_str(), &status) == 0 && !S_ISREG(status.st_mode) &&
         !S_ISDIR(status.st_mode) && !S_ISBLK(status.st_mode);
}

namespace {

constexpr int kScaleSeconds = 10;
constexpr int kScaleFrames = 4096;  // of a read

/// Whether the first seconds of floats are at the scale of 16-bit samples.
bool starts_at_16_bit(AudioSource& source) {
  std::vector<float> samples(std::size_t(kScaleFrames) * std::size_t(source.channels()));
  try {
    for (std::int64_t left = std::int64_t(kScaleSeconds) * source.rate_hz(); left > 0;) {
      const int got = source.read(samples.data(), kScaleFrames);
      if (got == 0) break;
      left -= got;
    }
  } catch (const std::exception&) {  // who reads it for its samples will meet it
  }
  return source.scale().is_16_bit();
}

}  // namespace

std::unique_ptr<AudioSource> open_source(const std::string& path_or_dash, const PipeFormat& pipe,
                                         const Interrupt* stop) {
  if (!is_pipe(path_or_dash)) {
    auto source = std::make_unique<FileSource>(path_or_dash, stop);
    // It is opened twice: nothing has to be sought in the one that is read.
    if (source->is_float()) {
      FileSource again(path_or_dash, stop);
      if (starts_at_16_bit(again)) source->take_as_16_bit();
    }
    return source;
  }
  if (path_or_dash != "-" && path_or_dash != "/dev/stdin") {
    return std::make_unique<NamedPipeSource>(path_or_dash, pipe, stop);
  }
  check_is_no_terminal(STDIN_FILENO, "standard input");
  return std::make_unique<PipeSource>(STDIN_FILENO, pipe, "standard input", stop);
}

}  // namespace runnel::rt
