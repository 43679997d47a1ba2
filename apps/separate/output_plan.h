// Which file each stem of each input becomes.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "apps/separate/stem_writer.h"

namespace runnel::apps {

struct OutputOptions {
  std::string folder = "separated";
  std::string filename = "{track}/{stem}.{ext}";  // Demucs's: also {trackext}
  std::vector<std::string> stems{};               // that are written
  OutputFormat format{};
};

/// Names for several inputs that cannot overwrite each other (an input: OutputCheck).
class OutputPlan {
 public:
  struct File {
    std::string stem;
    std::filesystem::path path;
  };
  struct Track {
    std::string input;
    std::string name;  // "meeting"; "meeting-2" for the second of that name
    std::vector<File> files;
  };

  /// Throws UsageError for a template that does not tell stems apart.
  OutputPlan(const OutputOptions& options, const std::string& model_name,
             const std::vector<std::string>& inputs);

  const std::vector<Track>& tracks() const noexcept { return tracks_; }
  /// Opens the files of a track, by open_each(); `stems` is what the separator hands out, in its
  /// order.
  std::unique_ptr<StemWriter> open(const Track& track, const std::vector<std::string>& stems,
                                   int rate_hz, int channels, StemWriter::OnFailure tell) const;

 private:
  std::vector<File> files_for(const std::string& input, const std::string& track,
                              const std::filesystem::path& folder) const;

  OutputOptions options_;
  std::vector<Track> tracks_;
};

/// Which of `stems` is called `name`. Throws UsageError that names `option`.
int find_stem(const std::vector<std::string>& stems, const std::string& name,
              const std::string& option);

/// "gtcrn-dns3" for a path to it, and the name itself for one of the catalog.
std::string model_folder_name(const std::string& name_or_path);

}  // namespace runnel::apps
