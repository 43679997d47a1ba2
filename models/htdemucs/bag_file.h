// The .yaml of a bag of models.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace runnel::models::htdemucs {

struct BagFile {
  std::vector<std::string> signatures;       // of the models; plain file names
  std::vector<std::vector<double>> weights;  // [model][source]; empty if none are given
};

/// The YAML that such files are written in: top-level keys `models`, `weights` and `segment` with
/// scalars and lists in block or flow style, quotes, comments. `segment` is checked and ignored:
/// the original doesn't apply it to HTDemucs. Throws std::runtime_error naming the file (`label`)
/// and the line.
BagFile parse_bag_file(std::string_view text, const std::string& label);

}  // namespace runnel::models::htdemucs
