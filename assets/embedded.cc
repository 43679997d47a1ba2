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

namespace runnel::assets {

std::string_view gtcrn_runnel_config() {
  return {reinterpret_cast<const char*>(runnel_gtcrn_config_begin),
          reinterpret_cast<const char*>(runnel_gtcrn_config_end)};
}

std::span<const std::byte> gtcrn_runnel_weights() {
  return {runnel_gtcrn_weights_begin, runnel_gtcrn_weights_end};
}

std::span<const std::byte> vad_runnel_weights() {
  return {runnel_vad_weights_begin, runnel_vad_weights_end};
}

}  // namespace runnel::assets
