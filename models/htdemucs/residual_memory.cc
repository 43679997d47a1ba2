#include "models/htdemucs/residual_memory.h"

#include <algorithm>

namespace runnel::models::htdemucs {

ResidualMemory::ResidualMemory(const Config& config, std::span<const int> rows, bool bf16)
    : config_(config), bf16_(bf16) {
  std::size_t x = 0, hidden = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::size_t read = std::size_t(rows[i] + engine::kTapRowSlack);
    const std::size_t around = 2 * std::size_t(config.widest_dilation());
    const std::size_t channels = std::size_t(config.channels_of(int(i)));
    const std::size_t stride = std::size_t(padded_hidden(config.hidden_channels_of(int(i))));
    x = std::max(x, (read + around) * channels + engine::kTapSlack);
    hidden = std::max(hidden, read * stride + engine::kTapSlack);
  }
  x_ = engine::PageBuffer(x * (bf16 ? 2 : 4), true);
  hidden_ = engine::PageBuffer(hidden * 4, true);
  if (bf16) activated_ = engine::PageBuffer(hidden * 2, true);
}

ResidualRows ResidualMemory::rows_of(int layer, int rows) noexcept {
  const std::ptrdiff_t channels = config_.channels_of(layer);
  const std::ptrdiff_t around = config_.widest_dilation() * channels;
  ResidualRows r{.x = {x_.data(), bf16_},
                 .row0 = around,
                 .hidden = reinterpret_cast<float*>(hidden_.data()),
                 .activated = {activated_.data(), true},
                 .rows = rows};
  if (!bf16_) r.activated = {hidden_.data(), false};
  // Another layer has its rows, of another size, where the zeros of this one are.
  std::fill_n(r.x.at(0), around * r.x.size(), std::byte(0));
  std::fill_n(r.x.at(r.row0 + rows * channels), around * r.x.size(), std::byte(0));
  return r;
}

}  // namespace runnel::models::htdemucs
