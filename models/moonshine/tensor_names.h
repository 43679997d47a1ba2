// The tensors of a Moonshine Streaming checkpoint.
#pragma once

#include "models/moonshine/config.h"
#include "models/random_source.h"

namespace runnel::models::moonshine {

/// Every tensor that a model of these sizes needs.
TensorShapes tensor_shapes(const Config& config);

}  // namespace runnel::models::moonshine
