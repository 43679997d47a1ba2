// No output replaces an input, another output, or a file that this program would not have made.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace runnel::apps {

/// What is in an output, by which an older one is known.
enum class OutputKind { kAudio, kHtml, kJson, kLrc, kSrt, kText, kTsv, kVtt };

/// Whether a file that begins so may be one of ours. `head`: the first bytes, 512 or all.
bool begins_like(OutputKind kind, std::string_view head);

/// Asked once for each output of a run, before there is any work. Files are told apart by device
/// and inode, so links and other names are the file itself.
class OutputCheck {
 public:
  /// `inputs`: paths, "-" for standard input, or what names no file; a checkpoint's folder
  /// stands for its files, and each of them for the others. `force`: a file of another kind may be
  /// replaced; an input never. Throws std::runtime_error if standard output is a file that is an
  /// input.
  OutputCheck(const std::vector<std::string>& inputs, bool force);

  /// `path` will be written; "-" is standard output, empty is nothing. Throws std::runtime_error in
  /// one line.
  void add(const std::string& path, OutputKind kind);

 private:
  /// A regular file; one that is not there yet is a name in a folder.
  struct Identity {
    std::uint64_t device = 0, inode = 0;
    std::string name;
    auto operator<=>(const Identity&) const = default;
  };
  static bool find(int descriptor, Identity& identity);
  static bool find(std::string path, Identity& identity);

  const bool force_;
  std::map<Identity, std::string> inputs_;
  std::map<Identity, std::string> outputs_;
};

}  // namespace runnel::apps
