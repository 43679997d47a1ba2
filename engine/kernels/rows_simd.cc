#include "engine/kernels/rows_plain.h"

namespace runnel::engine {

const RowKernels& row_kernels(Isa) { return plain_row_kernels(); }

}  // namespace runnel::engine
