// What torch.save writes: an uncompressed zip with one pickle (`data.pkl`) and one file a storage.
// Source: PyTorch torch/serialization.py and torch/_utils.py.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <span>
#include <vector>

#include "engine/pickle.h"
#include "engine/tensor.h"

namespace runnel::engine {

/// The tensors of a state dict. Those that lie contiguously in their storage borrow from `file`,
/// others are copied into `copies`. The state dict is the root of the pickle or stands under one of
/// the keys `model`, `state_dict`, `model_state_dict`, `state`. Nothing of the pickle is executed;
/// names outside a closed list are refused. Throws std::runtime_error.
std::vector<Tensor> parse_torch_checkpoint(std::span<const std::byte> file,
                                           std::deque<std::vector<std::byte>>& copies);

/// Shown the root of a pickle; what it returns is the state dict. It may read more: packages say
/// beside the state dict what the network is like. Lives no longer than the call.
using FindStateDict = std::function<const PickleValue&(const PickleValue& root)>;

/// The same of a state dict that `find` looks for. Names that aren't known are kept as names: a
/// package may hold objects that nobody here looks at (histories, metrics). `find` must accept only
/// the names that it knows.
std::vector<Tensor> parse_torch_package(std::span<const std::byte> file, const FindStateDict& find,
                                        std::deque<std::vector<std::byte>>& copies);

}  // namespace runnel::engine
