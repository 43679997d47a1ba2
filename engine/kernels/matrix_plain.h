#pragma once

#include "engine/kernels/matrix.h"

namespace runnel::engine {

/// Plain C++, one value at a time.
const MatrixKernels& plain_matrix_kernels();

}  // namespace runnel::engine
