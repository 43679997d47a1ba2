#include "apps/transcribe/text_output.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "rt/byte_writer.h"

namespace runnel::apps {

namespace fs = std::filesystem;

TextOutput TextOutput::file(const fs::path& path) {
  std::error_code failure;
  if (path.has_parent_path()) fs::create_directories(path.parent_path(), failure);
  const int descriptor = failure ? -1 : ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor < 0) {
    const int error = failure ? failure.value() : errno;
    throw std::runtime_error(path.string() + ": expected a file that can be written, found: " +
                             std::generic_category().message(error));
  }
  return {descriptor, true, path.string()};
}

TextOutput TextOutput::standard_output() { return {STDOUT_FILENO, false, "standard output"}; }

TextOutput::TextOutput(TextOutput&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      owned_(std::exchange(other.owned_, false)),
      name_(std::move(other.name_)),
      begun_(other.begun_),
      end_(other.end_),
      tail_(std::move(other.tail_)) {}

TextOutput::~TextOutput() {
  if (owned_) ::close(descriptor_);
}

void TextOutput::write(std::string_view text, std::string_view tail) {
  const bool first = !begun_;
  std::string bytes(text);
  if (owned_) bytes += tail;
  const auto old_size = end_ + std::int64_t(tail_.size());
  const auto new_size = end_ + std::int64_t(bytes.size());
  try {
    if (owned_ && !tail_.empty() && ::lseek(descriptor_, off_t(end_), SEEK_SET) < 0) {
      throw std::system_error(errno, std::generic_category());
    }
    rt::write_all(descriptor_, bytes);
    if (owned_ && (first || new_size < old_size) && ::ftruncate(descriptor_, new_size) != 0 &&
        errno != EINVAL) {  // a pipe or a device has nothing older
      throw std::system_error(errno, std::generic_category());
    }
  } catch (const std::system_error& error) {
    if (owned_ && first) {  // not half of one and half of the other
      if (::lseek(descriptor_, 0, SEEK_CUR) > 0) begun_ = ::ftruncate(descriptor_, 0) == 0;
      ::lseek(descriptor_, 0, SEEK_SET);
    } else if (owned_) {  // back to the state before: its blocks are there already
      const ssize_t restored = ::pwrite(descriptor_, tail_.data(), tail_.size(), off_t(end_));
      const int cut = ::ftruncate(descriptor_, old_size);
      static_cast<void>(restored), static_cast<void>(cut);  // a second failure says no more
    }
    throw std::runtime_error(name_ + ": write error: " + error.code().message());
  }
  begun_ = true;
  end_ += std::int64_t(text.size());
  tail_ = owned_ ? std::string(tail) : std::string();
}

}  // namespace runnel::apps
