#include "engine/kernels/matrix.h"

#include "engine/kernels/matrix_simd.h"

namespace runnel::engine {

const MatrixKernels& matrix_kernels(Isa isa) { return simd_matrix_kernels(isa); }

}  // namespace runnel::engine
