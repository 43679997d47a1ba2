#include "apps/bench/eigen.h"

#include <algorithm>

namespace runnel::apps {

EigenPeer eigen_peer(engine::Isa isa) {
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
  if (isa >= engine::Isa::kAvx512) return {eigen_product_avx512, "avx512"};
  if (isa == engine::Isa::kAvx2) return {eigen_product_avx2, "avx2"};
#endif
  (void)isa;
  return {eigen_product_baseline, "baseline"};
}

void eigen_multiply(engine::ThreadPool& pool, const EigenPeer& peer, const float* x, int rows,
                    int inputs, const float* w, int outputs, float* y) {
  const int threads = pool.threads();
  const bool by_rows = rows >= 16;
  const int all = by_rows ? rows : outputs;
  const int block = (all + threads - 1) / threads;
  pool.run(threads, [&](int i, int) {
    const int first = i * block, count = std::min(block, all - first);
    if (count <= 0) return;
    if (by_rows) {
      peer.product(x + std::ptrdiff_t(first) * inputs, count, inputs, w, outputs,
                   y + std::ptrdiff_t(first) * outputs, outputs);
    } else {
      peer.product(x, rows, inputs, w + std::ptrdiff_t(first) * inputs, count, y + first, outputs);
    }
  });
}

}  // namespace runnel::apps
