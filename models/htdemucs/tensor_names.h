// The tensors of an HTDemucs checkpoint.
#pragma once

#include "models/htdemucs/config.h"
#include "models/random_source.h"

namespace runnel::models::htdemucs {

/// Every entry of the original's state dict, and nothing else. Of a config whose ranges were
/// checked.
TensorShapes tensor_shapes(const Config& config);

}  // namespace runnel::models::htdemucs
