#include "apps/bench/measure.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "apps/text.h"
#include "engine/kernels/amx.h"
#include "engine/kernels/ceiling.h"
#include "engine/page_buffer.h"

namespace runnel::apps {
namespace {

constexpr int kTrials = 8;
constexpr std::size_t kBlock = std::size_t(1) << 18;  // bytes that a thread reads at a time
// Blocks that are timed together: about a millisecond, less than a busy machine's time slice, of a
// buffer that is read from end to end before it comes to them again.
constexpr int kWindow = 64;

/// The best rate of a few trials in which each thread takes four of `tasks`; task() returns how
/// much it did.
template <class Task>
double best_rate(engine::ThreadPool& pool, const Task& task) {
  const int tasks = 4 * pool.threads();
  std::vector<std::int64_t> done(std::size_t(tasks), 0);
  double best = 0;
  for (int trial = 0; trial < kTrials; ++trial) {
    const double s =
        time_once([&] { pool.run(tasks, [&](int i, int) { done[std::size_t(i)] = task(); }); });
    best = std::max(best, double(done.front()) * tasks / s);
  }
  return best;
}

double memory_rate(engine::ThreadPool& pool) {
  const int blocks = int(beyond_caches() / kBlock);
  engine::PageBuffer buffer(std::size_t(blocks) * kBlock);
  pool.run(blocks,
           [&](int i, int) { std::memset(buffer.data() + std::size_t(i) * kBlock, i, kBlock); });
  std::vector<std::uint64_t> sums(std::size_t(blocks), 0);  // kept, so that the reading is
  double best = 0;
  for (int trial = 0; trial < kTrials; ++trial) {
    const int streams = 1 << trial % 4;  // as whichever number of them the memory likes best
    for (int first = 0; first + kWindow <= blocks; first += kWindow) {
      const double s = time_once([&] {
        pool.run(kWindow, [&](int i, int) {
          const std::size_t block = std::size_t(first + i);
          sums[block] += engine::read_memory(buffer.data() + block * kBlock, kBlock, streams);
        });
      });
      best = std::max(best, double(kWindow * kBlock) / s);
    }
  }
  return best;
}

nlohmann::json giga(double rate) { return rate > 0 ? nlohmann::json(1e-9 * rate) : nullptr; }

}  // namespace

Times times_of(std::vector<double> seconds) {
  if (seconds.empty()) return {};
  std::sort(seconds.begin(), seconds.end());
  return {.median_s = seconds[seconds.size() / 2],
          .min_s = seconds.front(),
          .rounds = int(seconds.size())};
}

nlohmann::json times_json(const Times& times) {
  return {
      {"median_ms", 1e3 * times.median_s}, {"min_ms", 1e3 * times.min_s}, {"rounds", times.rounds}};
}

Ceilings measure_ceilings(engine::ThreadPool& pool, engine::Isa isa) {
  constexpr int kMultiplyAddRounds = 20'000;  // some half of a millisecond of each
  constexpr int kTileRounds = 10'000;
  Ceilings result;
  result.multiply_adds =
      best_rate(pool, [&] { return engine::run_multiply_adds(isa, kMultiplyAddRounds); });
  if (const engine::AmxKernels* amx = engine::amx_kernels(isa)) {
    result.tiles_bf16 = best_rate(pool, [&] { return amx->run_tiles_bf16(kTileRounds); });
    result.tiles_int8 = best_rate(pool, [&] { return amx->run_tiles_int8(kTileRounds); });
  }
  result.memory = memory_rate(pool);
  return result;
}

Ceilings larger(const Ceilings& a, const Ceilings& b) {
  return {.multiply_adds = std::max(a.multiply_adds, b.multiply_adds),
          .tiles_bf16 = std::max(a.tiles_bf16, b.tiles_bf16),
          .tiles_int8 = std::max(a.tiles_int8, b.tiles_int8),
          .memory = std::max(a.memory, b.memory)};
}

nlohmann::json ceilings_json(const Ceilings& ceilings) {
  return {{"multiply_adds_gflops", giga(ceilings.multiply_adds)},
          {"amx_bf16_gflops", giga(ceilings.tiles_bf16)},
          {"amx_int8_gflops", giga(ceilings.tiles_int8)},
          {"memory_gbs", giga(ceilings.memory)}};
}

std::string ceilings_text(const nlohmann::json& ceilings) {
  std::string text =
      "multiply-adds " + fixed(ceilings["multiply_adds_gflops"], 0) + " GFLOP/s (float32)";
  if (!ceilings["amx_bf16_gflops"].is_null()) {
    text += ", AMX " + fixed(ceilings["amx_bf16_gflops"], 0) + " (bfloat16) and " +
            fixed(ceilings["amx_int8_gflops"], 0) + " (int8)";
  }
  return text + ", memory " + fixed(ceilings["memory_gbs"], 1) + " GB/s read";
}

std::size_t last_cache_bytes() {
#ifdef _SC_LEVEL3_CACHE_SIZE
  return std::size_t(std::max(0L, sysconf(_SC_LEVEL3_CACHE_SIZE)));
#else
  return 0;
#endif
}

std::size_t beyond_caches() {
  return std::max(std::size_t(256) << 20, 2 * last_cache_bytes()) / kBlock * kBlock;
}

std::int64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::int64_t total = 0;
  std::int64_t resident = 0;
  statm >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

}  // namespace runnel::apps
