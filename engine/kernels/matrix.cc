#include "engine/kernels/matrix.h"

#include "engine/kernels/matrix_avx512.h"
#include "engine/kernels/matrix_simd.h"

namespace runnel::engine {

const MatrixKernels& matrix_kernels(Isa isa) {
  if (isa < Isa::kAvx512) return simd_matrix_kernels(isa);
  static const MatrixKernels kAvx512 = [] {
    MatrixKernels table = simd_matrix_kernels(Isa::kAvx512);
    add_avx512_extensions(table);
    return table;
  }();
  return kAvx512;
}

}  // namespace runnel::engine
