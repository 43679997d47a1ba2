#pragma once

#include "engine/kernels/taps.h"

namespace runnel::engine {

const TapKernels& plain_tap_kernels();

}  // namespace runnel::engine
