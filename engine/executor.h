// What every layer needs to compute: kernels, threads, and scratch for each thread.
#pragma once

#include <cassert>
#include <cstddef>

#include "engine/compute.h"
#include "engine/isa.h"
#include "engine/kernels/amx.h"
#include "engine/kernels/attention.h"
#include "engine/kernels/matrix.h"
#include "engine/kernels/rows.h"
#include "engine/kernels/taps.h"
#include "engine/page_buffer.h"
#include "engine/sanitizer.h"
#include "engine/scratch.h"
#include "engine/thread_pool.h"

namespace runnel::engine {

/// What attention of many queries needs, on floats or on tiles.
inline ScratchNeed attention_need(int keys, int dim) {
  return ScratchNeed::of<float>(attention_scratch(keys, dim)) |
         ScratchNeed::of<std::byte>(kAttentionScratch);
}
/// The softmax weights of `queries` queries over up to so many keys, each padded as the kernels of
/// few queries want it.
constexpr std::size_t attention_weights(int queries, int keys) {
  return std::size_t(queries) * std::size_t((keys + 15) / 16 * 16);
}

/// One for each model; a step of one stream at a time uses its scratch, so callers lock around it.
class Executor {
 public:
  /// `scratch`: of each thread, for all layers that will run.
  Executor(Isa isa, int threads, ScratchNeed scratch)
      : isa(isa),
        matrix(matrix_kernels(isa)),
        rows(row_kernels(isa)),
        attention(attention_kernels(isa)),
        taps(tap_kernels(isa)),
        amx(amx_kernels(isa)),
        pool(threads),
        scratch_bytes_((scratch.bytes() + 4095) / 4096 * 4096 + 4096),
        scratch_(scratch_bytes_ * std::size_t(pool.threads())) {}

  const Isa isa;
  const MatrixKernels& matrix;
  const RowKernels& rows;
  const AttentionKernels& attention;
  const TapKernels& taps;
  const AmxKernels* const amx;  // null: no tiles
  ThreadPool pool;

  /// `count` values for a task, 64-byte aligned; what they are is undefined. The odd page keeps
  /// threads' scratch out of each other's cache sets. Builds with asserts check that so much was
  /// said to be needed, builds with AddressSanitizer that no more is touched.
  template <class T>
  T* scratch(int thread, std::size_t count) noexcept {
    assert(thread >= 0 && thread < pool.threads() && count * sizeof(T) <= scratch_bytes_ - 4096);
    std::byte* const mine = scratch_.data() + std::size_t(thread) * scratch_bytes_;
    allow_only(mine, count * sizeof(T), scratch_bytes_);
    return reinterpret_cast<T*>(mine);
  }
  std::size_t scratch_bytes() const noexcept { return scratch_bytes_; }

 private:
  const std::size_t scratch_bytes_;
  PageBuffer scratch_;
};

}  // namespace runnel::engine
