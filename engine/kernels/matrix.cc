#include "engine/kernels/matrix.h"

#include "engine/kernels/matrix_plain.h"

namespace runnel::engine {

const MatrixKernels& matrix_kernels(Isa isa) {
  (void)isa;
  return plain_matrix_kernels();
}

}  // namespace runnel::engine
