// Which model transcribes when nobody names one.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "apps/model_store.h"

namespace runnel::apps {

/// What is to be done.
struct TranscriptionNeeds {
  bool live = false;
  bool translates = false;
  std::string language{};  // a code; empty: whatever is spoken
};

/// Public models that can do it, the best first.
std::vector<const HubModel*> ranking(const TranscriptionNeeds& needs);

struct DefaultModel {
  std::string name;            // for messages
  std::filesystem::path path;  // empty: the one inside the program
  std::string reason;          // why this one, and how to get a better one; one line
};

/// The fixed one, else the best that is on the disk, else the one inside the program. Throws
/// std::runtime_error in one line where the fixed one is gone.
DefaultModel default_model(const TranscriptionNeeds& needs);

/// What `models default NAME` has fixed: a name, or the absolute path of a model.
std::optional<std::string> fixed_model();
/// Throws std::runtime_error in one line if it isn't there, or this can't be written down.
void fix_model(const std::string& path_or_name);
/// Throws std::runtime_error in one line.
void clear_fixed_model();

}  // namespace runnel::apps
