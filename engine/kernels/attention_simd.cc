#include "engine/kernels/attention_plain.h"

namespace runnel::engine {

std::size_t attention_scratch(int keys, int dim) {
  return std::size_t(keys + 64) * std::size_t(dim + 16) * 2 + 48 * 512;
}

const AttentionKernels& attention_kernels(Isa) { return plain_attention_kernels(); }

}  // namespace runnel::engine
