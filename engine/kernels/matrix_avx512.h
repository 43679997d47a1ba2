#pragma once

#include "engine/kernels/matrix.h"

namespace runnel::engine {

/// Puts kernels into an AVX-512 table where the processor has VNNI, for int8.
///
/// BF16's vdpbf16ps is not among them: on Sapphire Rapids it takes two cycles, and a product of
/// many rows by it took 1.55 times as long as many_f32.
void add_avx512_extensions(MatrixKernels& table);

}  // namespace runnel::engine
