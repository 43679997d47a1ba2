// Timing for `runnel bench`, and what this machine can do at best.
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "engine/isa.h"
#include "engine/thread_pool.h"

namespace runnel::apps {

using BenchClock = std::chrono::steady_clock;

inline double seconds_since(BenchClock::time_point start) {
  return std::chrono::duration<double>(BenchClock::now() - start).count();
}

struct Times {
  double median_s = 0;
  double min_s = 0;
  int rounds = 0;  // 0: not measured
};

Times times_of(std::vector<double> seconds);
/// {"median_ms", "min_ms", "rounds"}
nlohmann::json times_json(const Times& times);

/// Seconds that `work` takes.
template <class Work>
double time_once(const Work& work) {
  const auto start = BenchClock::now();
  work();
  return seconds_since(start);
}

/// Once to warm up, then at least `least` times and until `budget_s` are over. Where one time takes
/// longer than the budget and a second, it is the only one.
template <class Work>
Times measure(double budget_s, int least, const Work& work) {
  const auto start = BenchClock::now();
  std::vector<double> seconds = {time_once(work)};
  if (seconds.front() > budget_s && seconds.front() > 1) return times_of(seconds);
  seconds.clear();
  while (int(seconds.size()) < least || seconds_since(start) < budget_s) {
    seconds.push_back(time_once(work));
  }
  return times_of(seconds);
}

/// `rounds` times, after one to warm up.
template <class Work>
Times measure_rounds(int rounds, const Work& work) {
  time_once(work);
  std::vector<double> seconds(std::size_t(rounds), 0.0);
  for (double& s : seconds) s = time_once(work);
  return times_of(seconds);
}

/// Best rates of all threads together; 0: there is no such thing here.
struct Ceilings {
  double multiply_adds = 0;  // FLOP/s, float32, as wide as the instruction set
  double tiles_bf16 = 0;     // FLOP/s on AMX
  double tiles_int8 = 0;     // operations/s on AMX
  double memory = 0;         // bytes/s read, of a buffer beyond the caches
};

Ceilings measure_ceilings(engine::ThreadPool& pool, engine::Isa isa);
/// The larger of each: a ceiling is a maximum, and other processes only lower what is measured.
Ceilings larger(const Ceilings& a, const Ceilings& b);
/// {"multiply_adds_gflops", "amx_bf16_gflops", "amx_int8_gflops", "memory_gbs"}; null where 0.
nlohmann::json ceilings_json(const Ceilings& ceilings);
/// One line of what ceilings_json made.
std::string ceilings_text(const nlohmann::json& ceilings);

/// Bytes of what no cache of this processor holds: twice its last one, at least 256 MB.
std::size_t beyond_caches();
/// Bytes of the last-level cache; 0 where the system doesn't say.
std::size_t last_cache_bytes();

/// Bytes of this process in memory now; see memory_use.h for the most so far.
std::int64_t resident_bytes();

}  // namespace runnel::apps
