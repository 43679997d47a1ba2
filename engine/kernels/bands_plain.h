#pragma once

#include "engine/kernels/bands.h"

namespace runnel::engine {

/// Plain C++, one value at a time.
const BandKernels& plain_band_kernels();

}  // namespace runnel::engine
