// `runnel bench`: how fast the models and their kernels run on this machine.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "apps/subcommand.h"

namespace runnel::apps {

struct GtcrnBenchOptions {
  std::string model;
  double seconds = 10;
  int streams = 0;  // 0: one stream as fast as possible
  std::vector<int> block_frames;
  bool all_isas = false;
  bool json = false;
};

struct OpsBenchOptions {
  int threads = 0;                   // 0: the physical cores
  std::vector<std::string> filters;  // parts of a line's name; none: all
  double seconds = 0.1;              // for each line
  bool all_isas = false;
  bool json = false;
};

struct WhisperBenchOptions {
  std::string model;           // folder or ggml file
  std::string random_weights;  // or the name of a public shape
  std::string precision = "auto";
  int threads = 0;
  int tokens = 100;
  int rounds = 5;
  bool json = false;
};

struct MoonshineBenchOptions {
  std::string model;           // folder
  std::string random_weights;  // or the name of a public shape, also without "moonshine-streaming-"
  std::string precision = "auto";
  int threads = 0;  // 0: one, then the physical cores
  int rounds = 5;
  bool json = false;
};

struct HtdemucsBenchOptions {
  std::string model;           // folder or file
  std::string random_weights;  // or the name of a public shape; neither: htdemucs
  std::string precision = "auto";
  int threads = 0;
  int rounds = 5;
  double seconds = 60;  // of the track; 0: none
  bool json = false;
};

int run_gtcrn_bench(GtcrnBenchOptions options);
int run_ops_bench(const OpsBenchOptions& options);
int run_whisper_bench(const WhisperBenchOptions& options);
int run_moonshine_bench(const MoonshineBenchOptions& options);
int run_htdemucs_bench(const HtdemucsBenchOptions& options);
/// `runnel bench live`, below `bench`.
Subcommand add_live_bench(CLI::App& bench);

/// Live streams on one thread in open loop: misses of the hop, memory of one more stream.
nlohmann::json bench_streams(const GtcrnBenchOptions& options);

/// `runnel bench ARGUMENTS --json` in a process for each instruction set of this machine: the
/// reports, under "isas".
nlohmann::json bench_isas(const std::string& what, const std::vector<std::string>& arguments);

}  // namespace runnel::apps
