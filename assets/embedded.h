// Files that are part of the program.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace runnel::assets {

/// assets/models/gtcrn-runnel/, see MODEL.md there. 64-byte aligned.
std::string_view gtcrn_runnel_config();
std::span<const std::byte> gtcrn_runnel_weights();
/// assets/models/vad-runnel/, likewise.
std::span<const std::byte> vad_runnel_weights();
/// assets/models/moonshine-runnel-en/, likewise.
std::string_view moonshine_runnel_en_config();
std::string_view moonshine_runnel_en_generation();
std::string_view moonshine_runnel_en_tokenizer();
std::span<const std::byte> moonshine_runnel_en_weights();

}  // namespace runnel::assets
