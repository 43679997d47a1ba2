#include "rt/replacing_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>

namespace runnel::rt {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLongestStem = 200;  // of the 255 bytes that a name may have
constexpr int kOpenFlags = O_RDWR | O_CREAT | O_CLOEXEC;

bool is_free(const std::string& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) != 0 && errno == ENOENT;
}

}  // namespace

std::string unused_path_beside(const std::string& path, const std::string& extension) {
  const fs::path whole(path);
  const std::string stem = whole.stem().string().substr(0, kLongestStem) + ".part";
  for (int number = 1;; ++number) {
    const std::string tag = number == 1 ? "" : "-" + std::to_string(number);
    std::string name = (whole.parent_path() / (stem + tag + extension)).string();
    if (is_free(name) || number == 1000) return name;  // 1000: the caller's opening tells why
  }
}

ReplacingFile::ReplacingFile(const std::string& path) : target_(path) {
  std::error_code failure;
  if (const fs::path folder = fs::path(path).parent_path(); !folder.empty()) {
    fs::create_directories(folder, failure);
    if (failure) throw std::system_error(failure);
  }
  if (open_beside()) return;
  std::string made = path;  // nothing may throw once the file is there
  descriptor_ = ::open(path.c_str(), kOpenFlags | O_EXCL, 0666);
  if (descriptor_ >= 0) {
    made_ = std::move(made);
    return;
  }
  if (errno == EEXIST) descriptor_ = ::open(path.c_str(), kOpenFlags | O_TRUNC, 0666);
  if (descriptor_ < 0) throw std::system_error(errno, std::generic_category());
}

/// False where there is no file to be spared, or no other way.
bool ReplacingFile::open_beside() {
  std::error_code missing;
  const fs::path real = fs::canonical(target_, missing);
  struct stat old {};
  if (missing || ::stat(real.c_str(), &old) != 0 || !S_ISREG(old.st_mode)) return false;
  if (::access(real.c_str(), W_OK) != 0) return false;  // opening it tells why
  std::string target = real.string();
  std::string beside = unused_path_beside(target, real.extension().string());
  descriptor_ = ::open(beside.c_str(), kOpenFlags | O_EXCL, 0666);
  if (descriptor_ < 0) {
    // A folder that takes no new files leaves no other way; a disk without room is told.
    if (errno == EACCES || errno == EPERM || errno == EROFS) return false;
    throw std::system_error(errno, std::generic_category());
  }
  made_ = std::move(beside);
  target_ = std::move(target);
  // Who may read the old one may read the new one. Some file systems have no such rights.
  static_cast<void>(::fchmod(descriptor_, old.st_mode & 07777));
  return true;
}

ReplacingFile::~ReplacingFile() {
  if (!made_.empty()) ::unlink(made_.c_str());
  ::close(descriptor_);
}

void ReplacingFile::keep() {
  const std::string made = std::exchange(made_, {});
  if (made.empty() || made == target_) return;
  if (std::rename(made.c_str(), target_.c_str()) != 0) {
    throw std::system_error(errno, std::generic_category(), "stays " + made);
  }
}

}  // namespace runnel::rt
