// The model of a separation, of whichever architecture: what the ways of running it need to know.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "apps/separate/stem_choice.h"
#include "engine/compute.h"
#include "models/segment_model.h"
#include "models/separator.h"
#include "models/stem_separator.h"
#include "models/track_separator.h"

namespace runnel::apps {

struct SeparationModel {
  std::string name;   // of the results' folder
  std::string label;  // what was loaded, for messages
  bool random_weights = false;
  std::vector<std::string> stems;       // what separators hand out, in their order
  std::vector<std::string> written;     // those of them that are written
  int played = 0;                       // the number of the one that is played live
  models::SeparatorFactory separators;  // all on the same weights

  /// A first pass over a track for its levels, and separators that know them. Null: none is needed.
  std::function<std::unique_ptr<models::TrackStatistics>(const models::SeparatorFormat&)>
      statistics{};
  std::function<std::unique_ptr<models::StemSeparator>(const models::SeparatorFormat&,
                                                       const std::vector<models::Normalization>&)>
      levelled_separators{};

  double hop_seconds = 0.016;          // stems come in bursts of so much, live
  double ring_seconds = 1.0;           // of live input that must find room while the model runs
  bool has_threads = false;            // of its own: one file at a time
  std::function<double()> run_once{};  // null, or: runs the model and says how long it took
  nlohmann::json details = nlohmann::json::object();  // for statistics
};

enum class SeparationArchitecture { kGtcrn, kHtdemucs };

/// Which model a command line means.
struct SeparationChoice {
  SeparationArchitecture architecture = SeparationArchitecture::kGtcrn;
  std::string name;            // of the results' folder
  std::string path;            // of a checkpoint, or a name of the catalog
  std::string random_weights;  // name of a public shape; empty: trained
};

/// `model`: a name of the catalog; a checkpoint's file or folder, told apart by what is in it; or a
/// pulled model's name, looked up in `model_folder` first. `random_weights`: a public shape of
/// HTDemucs instead. Throws std::runtime_error in one line.
SeparationChoice choose_separation(const std::string& model, const std::string& model_folder,
                                   const std::string& random_weights);

/// By a name of the catalog or a checkpoint's path. Throws std::runtime_error in one line.
SeparationModel gtcrn_separation(const std::string& name_or_path,
                                 const models::SeparatorOptions& options);

/// How a model of fixed segments is run.
struct SegmentOptions {
  engine::ComputeConfig compute{};
  double segment_seconds = 0;  // 0: what the model was trained with, the most there may be
  bool live = false;
  // Files.
  int shifts = 0;
  std::uint64_t seed = 0;
  double overlap = 0.25;
  bool whole_track_levels = true;  // false: of what was heard so far
  // Live.
  double hop_seconds = 0.5;
  double lookahead_seconds = 0.25;
};

/// Separation with any model of fixed segments. Throws UsageError for stems that it doesn't have.
SeparationModel segment_separation(std::shared_ptr<models::SegmentModel> model,
                                   const SegmentOptions& options, const StemChoice& stems);
/// The same with the HTDemucs that was chosen. Throws std::runtime_error in one line.
SeparationModel htdemucs_separation(const SeparationChoice& choice, const SegmentOptions& options,
                                    const StemChoice& stems);

}  // namespace runnel::apps
