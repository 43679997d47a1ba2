#include "rt/source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <stdexcept>
#include <system_error>

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
  if (bad_samples_ > 0) {
    if (!text.empty()) text += "; ";
    text += std::to_string(bad_samples_) + " samples were not finite numbers and became 0";
  }
  return text.empty() ? text : name() + ": " + text;
}

void AudioSource::repair(float* samples, std::int64_t count) noexcept {
  for (std::int64_t i = 0; i < count; ++i) {
    if (std::isfinite(samples[i])) continue;
    samples[i] = 0;
    ++bad_samples_;
  }
}

bool is_pipe(const std::string& path_or_dash) noexcept {
  if (path_or_dash == "-") return true;
  struct stat status {};
  return stat(path_or_dash.c_str(), &status) == 0 && !S_ISREG(status.st_mode) &&
         !S_ISDIR(status.st_mode) && !S_ISBLK(status.st_mode);
}

std::unique_ptr<AudioSource> open_source(const std::string& path_or_dash, const PipeFormat& pipe,
                                         const Interrupt* stop) {
  if (!is_pipe(path_or_dash)) return std::make_unique<FileSource>(path_or_dash, stop);
  if (path_or_dash != "-" && path_or_dash != "/dev/stdin") {
    return std::make_unique<NamedPipeSource>(path_or_dash, pipe, stop);
  }
  check_is_no_terminal(STDIN_FILENO, "standard input");
  return std::make_unique<PipeSource>(STDIN_FILENO, pipe, "standard input", stop);
}

}  // namespace runnel::rt
