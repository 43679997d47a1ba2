// Eigen's product for avx2, whatever the rest of the program is compiled for.

#include "apps/bench/eigen_headers.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#include <immintrin.h>

#pragma GCC push_options
#pragma GCC target("avx2,fma")
#define Eigen runnel_eigen_avx2
#define EIGEN_DONT_PARALLELIZE
#include <Eigen/Core>

namespace runnel::apps {

void eigen_product_avx2(const float* x, int rows, int inputs, const float* w, int outputs, float* y,
                        std::ptrdiff_t y_stride) {
  using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const Eigen::Map<const Matrix> weights(w, outputs, inputs);
  if (rows == 1) {
    const Eigen::Map<const Eigen::VectorXf> in(x, inputs);
    Eigen::Map<Eigen::VectorXf>(y, outputs).noalias() = weights * in;
    return;
  }
  const Eigen::Map<const Matrix> in(x, rows, inputs);
  Eigen::Map<Matrix, 0, Eigen::OuterStride<>>(y, rows, outputs, Eigen::OuterStride<>(y_stride))
      .noalias() = in * weights.transpose();
}

}  // namespace runnel::apps

#pragma GCC pop_options
#endif
