#include <sndfile.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "rt/source.h"

namespace runnel::rt {
namespace {

constexpr const char* kExpected = "expected an audio file (wav, flac, ogg, mp3)";

[[noreturn]] void fail(const std::string& path, const std::string& what) {
  throw std::runtime_error(path + ": " + what);
}

/// libsndfile's messages may end in a full stop and a line break.
std::string one_line(std::string text) {
  text = text.substr(0, text.find('\n'));
  while (!text.empty() && (text.back() == '.' || text.back() == ' ')) text.pop_back();
  return text;
}

void check_is_readable_file(const std::string& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) {
    fail(path, std::string(kExpected) + ", found " +
                   (error && error != std::errc::no_such_file_or_directory ? error.message()
                                                                           : "no such file"));
  }
  if (std::filesystem::is_directory(status)) {
    fail(path, std::string(kExpected) + ", found a directory");
  }
  if (std::filesystem::is_regular_file(status) && std::filesystem::file_size(path, error) == 0) {
    fail(path, std::string(kExpected) + ", found an empty file");
  }
  if (std::FILE* file = std::fopen(path.c_str(), "rb")) {
    std::fclose(file);
  } else {
    fail(path, "cannot be opened: " + std::generic_category().message(errno));
  }
}

}  // namespace

struct FileSource::File {
  explicit File(const std::string& file_path) : path(file_path) {
    check_is_readable_file(path);
    handle = sf_open(path.c_str(), SFM_READ, &info);
    if (handle == nullptr) {
      fail(path,
           std::string(kExpected) + ", found something else: " + one_line(sf_strerror(nullptr)));
    }
    if (info.channels < 1 || info.samplerate < 1) {
      sf_close(handle);
      const std::string found =
          std::to_string(info.channels) + " channels at " + std::to_string(info.samplerate) + " Hz";
      fail(path, "expected at least one channel and 1 Hz, found " + found);
    }
  }
  ~File() { sf_close(handle); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  SourceFormat format() const {
    return {.name = path,
            .rate_hz = info.samplerate,
            .channels = info.channels,
            .frames = info.frames >= SF_COUNT_MAX ? -1 : std::int64_t(info.frames),
            .is_float = (info.format & SF_FORMAT_SUBMASK) == SF_FORMAT_FLOAT ||
                        (info.format & SF_FORMAT_SUBMASK) == SF_FORMAT_DOUBLE};
  }

  std::string path;
  SF_INFO info{};
  SNDFILE* handle = nullptr;
};

FileSource::FileSource(const std::string& path, const Interrupt* stop)
    : FileSource(std::make_unique<File>(path), stop) {}

FileSource::FileSource(std::unique_ptr<File> file, const Interrupt* stop)
    : AudioSource(file->format(), stop), file_(std::move(file)) {}

FileSource::~FileSource() = default;

int FileSource::read(float* interleaved, int max_frames) {
  if (!failure_.empty()) fail(name(), std::exchange(failure_, {}));
  if (max_frames <= 0 || cancelled()) return 0;
  const auto got = int(sf_readf_float(file_->handle, interleaved, max_frames));
  read_frames_ += got;
  repair(interleaved, std::int64_t(got) * channels());
  if (got == max_frames) return got;

  const std::string of_all = frames() >= 0 ? " of " + std::to_string(frames()) : std::string();
  if (sf_error(file_->handle) != SF_ERR_NO_ERROR) {
    failure_ = "damaged after " + std::to_string(read_frames_) + of_all +
               " frames: " + one_line(sf_strerror(file_->handle));
    if (got == 0) fail(name(), std::exchange(failure_, {}));
  } else if (frames() > read_frames_) {
    damage_ = "ends after " + std::to_string(read_frames_) + of_all + " frames";
  }
  return got;
}

}  // namespace runnel::rt
