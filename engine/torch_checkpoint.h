// What torch.save writes: an uncompressed zip with one pickle (`data.pkl`) and one file a storage.
// Source: PyTorch torch/serialization.py and torch/_utils.py.
#pragma once

#include <cstddef>
#include <deque>
#include <span>
#include <vector>

#include "engine/tensor.h"

namespace runnel::engine {

/// The tensors of a state dict. Those that lie contiguously in their storage borrow from `file`,
/// others are copied into `copies`. The state dict is the root of the pickle or stands under one of
/// the keys `model`, `state_dict`, `model_state_dict`, `state`. Nothing of the pickle is executed;
/// names outside a closed list are refused. Throws std::runtime_error.
std::vector<Tensor> parse_torch_checkpoint(std::span<const std::byte> file,
                                           std::deque<std::vector<std::byte>>& copies);

}  // namespace runnel::engine
