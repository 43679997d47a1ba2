// What the parts of `runnel bench ops` share.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "apps/bench/eigen.h"
#include "apps/bench/op.h"
#include "engine/executor.h"

namespace runnel::apps {

/// Public shapes; head size 64, four times as wide between fc1 and fc2.
struct WhisperShape {
  std::string_view name;
  int dim, decoder_layers, vocabulary;
};
inline constexpr WhisperShape kWhisperShapes[] = {
    {"tiny", 384, 4, 51865},
    {"base", 512, 6, 51865},
    {"small", 768, 12, 51865},
    {"turbo", 1280, 4, 51866},
};
inline constexpr int kAudioRows = 1500;  // of the encoder: 30 s
inline constexpr int kHeadDim = 64;

struct OpsRun {
  engine::Executor& executor;
  EigenPeer eigen;
  std::vector<std::string> filters;
  double seconds;  // of each line
  std::vector<Op> ops;

  bool wants(const std::string& name) const {
    return filters.empty() ||
           std::any_of(filters.begin(), filters.end(), [&](const std::string& filter) {
             return name.find(filter) != std::string::npos;
           });
  }
};

void bench_encoder_products(OpsRun& run);
void bench_decoder_products(OpsRun& run);
void bench_encoder_attention(OpsRun& run);
void bench_decoder_attention(OpsRun& run);
void bench_rows(OpsRun& run);    // layer norm, GELU, argmax
void bench_stages(OpsRun& run);  // log-mel, GTCRN

/// Random in [−1, 1), the same each time.
std::vector<float> random_values(std::size_t count);

}  // namespace runnel::apps
