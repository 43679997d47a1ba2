// How the networks compute: precision, memory, threads. Chosen by API, flag or environment.
#pragma once

#include <memory>
#include <string_view>

#include "engine/isa.h"

namespace runnel::engine {

class ThreadPool;

/// The type that weights are kept in. Sums are float32 (int32 for int8 × int8).
enum class Precision { kFloat32, kBFloat16, kFloat16, kInt8 };

std::string_view name(Precision precision);  // float32, bfloat16, float16, int8
/// Also f32, fp32, bf16, f16, fp16, i8. Throws std::invalid_argument: what was expected and found.
Precision parse_precision(std::string_view text);

/// What to spend memory on.
enum class MemoryUsage {
  kMinimal,      // caches in half precision, whatever the weights' precision
  kBalanced,     // caches as wide as the precision asks for
  kPerformance,  // and weights on huge pages where the system gives them
};

std::string_view name(MemoryUsage usage);  // minimal, balanced, performance
MemoryUsage parse_memory_usage(std::string_view text);

struct ComputeConfig {
  /// For layers that see many rows at once (an encoder).
  Precision encoder = Precision::kFloat32;
  /// For layers that see one to a few rows a step (a decoder): bound by memory.
  Precision decoder = Precision::kFloat32;
  MemoryUsage memory = MemoryUsage::kBalanced;
  int threads = 0;  // 0: as many as physical cores
  /// The precisions are those of "auto": a model that was measured with others may take them.
  bool automatic = false;

  /// "auto" (the default of the program): the encoder in bfloat16 where the processor has AMX, else
  /// float32; the decoder in int8. Otherwise one precision for both.
  static ComputeConfig of(std::string_view precision_or_auto);
  /// RUNNEL_COMPUTE_PRECISION (auto if unset), RUNNEL_MEMORY_USAGE, RUNNEL_NUM_THREADS. Throws
  /// std::invalid_argument naming the variable.
  static ComputeConfig from_environment();
};

}  // namespace runnel::engine
