// Eigen's product, which `runnel bench ops` puts beside ours.
//
// The program runs on any x86-64, so Eigen is compiled once for each instruction set, as Highway
// does it: within a region whose functions carry the target, under a namespace of its own. Nothing
// outside of that region (the standard library's inline functions) is compiled for more than the
// baseline, so the linker cannot pick a copy that an older processor doesn't run.
#pragma once

#include <cstddef>
#include <string_view>

#include "engine/isa.h"
#include "engine/thread_pool.h"

namespace runnel::apps {

/// y[r][o] = Σ_i x[r][i] · w[o][i] with rows and outputs one after the other, on one thread.
/// y rows are `y_stride` apart.
using EigenProduct = void (*)(const float* x, int rows, int inputs, const float* w, int outputs,
                              float* y, std::ptrdiff_t y_stride);

void eigen_product_baseline(const float* x, int rows, int inputs, const float* w, int outputs,
                            float* y, std::ptrdiff_t y_stride);
void eigen_product_avx2(const float* x, int rows, int inputs, const float* w, int outputs, float* y,
                        std::ptrdiff_t y_stride);
void eigen_product_avx512(const float* x, int rows, int inputs, const float* w, int outputs,
                          float* y, std::ptrdiff_t y_stride);

struct EigenPeer {
  EigenProduct product;
  std::string_view isa;  // "baseline", "avx2", "avx512"
};

/// The best that `isa` runs. Compilers other than gcc get the baseline: they have no such regions.
EigenPeer eigen_peer(engine::Isa isa);

/// The whole product on all threads: blocks of rows, or of outputs where rows are few.
void eigen_multiply(engine::ThreadPool& pool, const EigenPeer& peer, const float* x, int rows,
                    int inputs, const float* w, int outputs, float* y);

}  // namespace runnel::apps
