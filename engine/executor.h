// What every layer needs to compute: kernels, threads, and scratch for each thread.
#pragma once

#include <cstddef>

#include "engine/compute.h"
#include "engine/isa.h"
#include "engine/kernels/amx.h"
#include "engine/kernels/attention.h"
#include "engine/kernels/matrix.h"
#include "engine/kernels/rows.h"
#include "engine/kernels/taps.h"
#include "engine/page_buffer.h"
#include "engine/thread_pool.h"

namespace runnel::engine {

/// One for each model; a step of one stream at a time uses its scratch, so callers lock around it.
class Executor {
 public:
  /// `scratch_bytes`: for each thread; what the layers' largest need is.
  Executor(Isa isa, int threads, std::size_t scratch_bytes)
      : isa(isa),
        matrix(matrix_kernels(isa)),
        rows(row_kernels(isa)),
        attention(attention_kernels(isa)),
        taps(tap_kernels(isa)),
        amx(amx_kernels(isa)),
        pool(threads),
        scratch_bytes_((scratch_bytes + 4095) / 4096 * 4096 + 4096),
        scratch_(scratch_bytes_ * std::size_t(pool.threads())) {}

  const Isa isa;
  const MatrixKernels& matrix;
  const RowKernels& rows;
  const AttentionKernels& attention;
  const TapKernels& taps;
  const AmxKernels* const amx;  // null: no tiles
  ThreadPool pool;

  /// 64-byte aligned; its content is undefined at the head of a task. The odd page keeps threads'
  /// scratch out of each other's cache sets.
  template <class T>
  T* scratch(int thread) noexcept {
    return reinterpret_cast<T*>(scratch_.data() + std::size_t(thread) * scratch_bytes_);
  }
  std::size_t scratch_bytes() const noexcept { return scratch_bytes_; }

 private:
  const std::size_t scratch_bytes_;
  PageBuffer scratch_;
};

}  // namespace runnel::engine
