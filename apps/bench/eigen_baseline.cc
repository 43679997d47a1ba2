// Eigen's product for the compiler's baseline.

#include "apps/bench/eigen_headers.h"

#define Eigen runnel_eigen_baseline
#define EIGEN_DONT_PARALLELIZE
#include <Eigen/Core>

namespace runnel::apps {

void eigen_product_baseline(const float* x, int rows, int inputs, const float* w, int outputs,
                            float* y, std::ptrdiff_t y_stride) {
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
