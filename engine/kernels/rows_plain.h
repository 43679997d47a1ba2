#pragma once

#include "engine/kernels/rows.h"

namespace runnel::engine {

/// Plain C++, one value at a time.
const RowKernels& plain_row_kernels();

}  // namespace runnel::engine
