#pragma once

#include "engine/kernels/attention.h"

namespace runnel::engine {

/// Plain C++, one value at a time.
const AttentionKernels& plain_attention_kernels();

}  // namespace runnel::engine
