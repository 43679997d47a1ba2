#pragma once

#include "engine/kernels/matrix.h"

namespace runnel::engine {

/// Those on Highway: what every processor of an instruction set runs.
const MatrixKernels& simd_matrix_kernels(Isa isa);

}  // namespace runnel::engine
