// `runnel bench`: how fast the models run on this machine.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace runnel::apps {

struct BenchOptions {
  std::string architecture = "gtcrn";
  std::string model;
  double seconds = 10;
  int streams = 0;  // 0: one stream as fast as possible
  std::vector<int> block_frames;
  bool all_isas = false;
  bool json = false;
};

/// Live streams on one thread in open loop: misses of the hop, memory of one more stream.
nlohmann::json bench_streams(const BenchOptions& options);
/// The same bench in a process for each instruction set of this machine.
nlohmann::json bench_isas(const BenchOptions& options);

}  // namespace runnel::apps
