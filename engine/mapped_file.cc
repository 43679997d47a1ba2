#include "engine/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>

namespace runnel::engine {
namespace {

constexpr std::size_t kStretch = std::size_t(4) << 20;  // bytes, a multiple of any page

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) {
  const auto fail = [&](const std::string& why) {
    throw std::runtime_error(path.string() + ": " + why);
  };
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a FIFO may be empty
  if (fd < 0) fail(std::strerror(errno));
  struct stat info {};
  void* data = nullptr;
  std::string problem;
  if (::fstat(fd, &info) != 0) {
    problem = std::strerror(errno);
  } else if (!S_ISREG(info.st_mode)) {
    problem = "expected a file, found something else";
  } else if (info.st_size > 0) {  // mmap refuses length 0
    data = ::mmap(nullptr, std::size_t(info.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) problem = std::strerror(errno);
  }
  ::close(fd);
  if (!problem.empty()) fail(problem);
  data_ = static_cast<const std::byte*>(data);
  size_ = std::size_t(info.st_size);
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(const_cast<std::byte*>(data_), size_);
}

bool MappedFile::holds(std::span<const std::byte> part) const noexcept {
  return !part.empty() && data_ && std::less_equal<>()(data_, part.data()) &&
         std::less_equal<>()(part.data() + part.size(), data_ + size_);
}

// Pages of a file are never written here, so a page that a neighbour shares may go as well.
void MappedFile::release(std::span<const std::byte> part) const noexcept {
  if (!holds(part)) return;
  const auto page = std::size_t(::sysconf(_SC_PAGESIZE));
  const std::size_t begin = std::size_t(part.data() - data_) / page * page;
  const std::size_t end = std::size_t(part.data() - data_) + part.size();
  ::madvise(const_cast<std::byte*>(data_) + begin, end - begin, MADV_DONTNEED);
}

// Without memory of what was read before: whoever crosses the end of a stretch releases it.
void MappedFile::release_behind(std::span<const std::byte> read) const noexcept {
  if (!holds(read)) return;
  const auto first = std::size_t(read.data() - data_);
  const std::size_t begin = first / kStretch * kStretch;
  const std::size_t end = (first + read.size()) / kStretch * kStretch;
  if (begin < end) release({data_ + begin, end - begin});
}

}  // namespace runnel::engine
