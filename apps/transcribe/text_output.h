// Text that is on disk as soon as it is final.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace runnel::apps {

/// A file or standard output without a buffer of its own: what was written survives a kill. One
/// thread.
class TextOutput {
 public:
  /// Makes the folders on the way. What is there already stays until
  /// begin(). Throws
  /// std::runtime_error in one line.
  static TextOutput file(const std::filesystem::path& path);
  static TextOutput standard_output();
  ~TextOutput();
  TextOutput(TextOutput&& other) noexcept;
  TextOutput& operator=(TextOutput&&) = delete;

  /// What was there before goes, as with the first write. Throws std::runtime_error.
  void begin() { write({}); }
  /// Writes `text` in place of the tail of the last call, then `tail` (brackets that end a JSON
  /// file, say), which the next call overwrites: a reader finds a whole file at any time. Standard
  /// output gets no tails. If the disk is full the file is left as it was before the call. Throws
  /// std::runtime_error in one line.
  void write(std::string_view text, std::string_view tail = {});

  /// Path or "standard output", for messages.
  const std::string& name() const noexcept { return name_; }

 private:
  TextOutput(int descriptor, bool owned, std::string name)
      : descriptor_(descriptor), owned_(owned), name_(std::move(name)) {}

  int descriptor_;
  bool owned_;  // a file, not standard output
  std::string name_;
  bool begun_ = false;
  std::int64_t end_ = 0;  // bytes before the tail
  std::string tail_;
};

}  // namespace runnel::apps
