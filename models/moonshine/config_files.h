// The config files of a Moonshine Streaming folder. Errors are std::runtime_error in one line: the
// file, the key, what was expected, what was found.
#pragma once

#include <string>
#include <string_view>

#include "models/moonshine/config.h"

namespace runnel::models::moonshine {

/// Validated. Keys that Hugging Face leaves out where they have its default value may be missing;
/// sizes may not.
Config parse_config(std::string_view json, const std::string& label);

/// Of generation_config.json: num_beams, 1 where it isn't named. What else is in it, config.json
/// says too.
int parse_beams(std::string_view json, const std::string& label);

/// preprocessor_config.json: there is one front end, so it must be this one.
void check_preprocessor(std::string_view json, const std::string& label);

/// Whether this is the config.json of a Moonshine Streaming model. Never throws for its content.
bool is_config(std::string_view json);

}  // namespace runnel::models::moonshine
