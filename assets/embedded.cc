#include "assets/embedded.h"

// The assembler copies the file between two labels of read-only data.
#define RUNNEL_EMBED(label, path)                                  \
  __asm__(".pushsection .rodata\n.balign 64\n" #label              \
          "_begin:\n"                                              \
          ".incbin \"" path "\"\n" #label "_end:\n.popsection\n"); \
  extern "C" const std::byte label##_begin[], label##_end[];

RUNNEL_EMBED(runnel_gtcrn_config, GTCRN_RUNNEL_DIR "/config.json")
RUNNEL_EMBED(runnel_gtcrn_weights, GTCRN_RUNNEL_DIR "/model.safetensors")
RUNNEL_EMBED(runnel_vad_weights, VAD_RUNNEL_DIR "/model.safetensors")
RUNNEL_EMBED(runnel_moonshine_config, MOONSHINE_RUNNEL_EN_DIR "/config.json")
RUNNEL_EMBED(runnel_moonshine_generation, MOONSHINE_RUNNEL_EN_DIR "/generation_config.json")
RUNNEL_EMBED(runnel_moonshine_tokenizer, MOONSHINE_RUNNEL_EN_DIR "/tokenizer.json")
RUNNEL_EMBED(runnel_moonshine_weights, MOONSHINE_RUNNEL_EN_DIR "/model.safetensors")

namespace runnel::assets {
namespace {

std::string_view text(const std::byte* begin, const std::byte* end) {
  return {reinterpret_cast<const char*>(begin), reinterpret_cast<const char*>(end)};
}

}  // namespace

std::string_view gtcrn_runnel_config() {
  return text(runnel_gtcrn_config_begin, runnel_gtcrn_config_end);
}

std::span<const std::byte> gtcrn_runnel_weights() {
  return {runnel_gtcrn_weights_begin, runnel_gtcrn_weights_end};
}

std::span<const std::byte> vad_runnel_weights() {
  return {runnel_vad_weights_begin, runnel_vad_weights_end};
}

std::string_view moonshine_runnel_en_config() {
  return text(runnel_moonshine_config_begin, runnel_moonshine_config_end);
}

std::string_view moonshine_runnel_en_generation() {
  return text(runnel_moonshine_generation_begin, runnel_moonshine_generation_end);
}

std::string_view moonshine_runnel_en_tokenizer() {
  return text(runnel_moonshine_tokenizer_begin, runnel_moonshine_tokenizer_end);
}

std::span<const std::byte> moonshine_runnel_en_weights() {
  return {runnel_moonshine_weights_begin, runnel_moonshine_weights_end};
}

}  // namespace runnel::assets
