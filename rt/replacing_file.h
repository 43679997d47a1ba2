// A file that takes the place of an older one only when there is something to keep.
#pragma once

#include <string>

namespace runnel::rt {

/// A path in the folder of `path` that names nothing yet: "meeting.part.wav", "meeting.part-2.wav".
/// Never longer than a file system allows.
std::string unused_path_beside(const std::string& path, const std::string& extension);

/// Where a file is already, a second one is written beside it, and keep() renames it: until then,
/// and if it never comes to that, the old one stays as it was. A name that is free, a device and a
/// file in a folder that takes no new ones are written where they are, and grow before one's eyes.
class ReplacingFile {
 public:
  /// Opens it for reading and writing, empty. Makes the folders on the way. A symbolic link stays
  /// one: what it leads to is replaced. Throws std::system_error.
  explicit ReplacingFile(const std::string& path);
  /// Without keep(), a file that was made is removed.
  ~ReplacingFile();
  ReplacingFile(const ReplacingFile&) = delete;
  ReplacingFile& operator=(const ReplacingFile&) = delete;

  int descriptor() const noexcept { return descriptor_; }
  /// Gives the file its name, whatever is in it; it may be written further. Throws
  /// std::system_error; both files then stay.
  void keep();

 private:
  bool open_beside();

  std::string target_;  // behind links
  std::string made_;    // to be removed without keep(); empty: nothing
  int descriptor_ = -1;
};

}  // namespace runnel::rt
