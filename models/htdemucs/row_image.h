// Planes of channels-last rows between two layers.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "engine/kernels/taps.h"
#include "engine/layers/convolution.h"
#include "engine/page_buffer.h"

namespace runnel::models::htdemucs {

/// [planes][rows][cols] with `margin` rows of zeros before the first plane and behind each, and
/// behind all of it the slack that tiles read. In the spectral branch a plane is a frequency and a
/// row a frame; the temporal branch has one plane.
class RowImage {
 public:
  RowImage() = default;
  /// `step`: products' windows begin so many rows after one another, or fewer.
  RowImage(int planes, int rows, int cols, int margin, int step, bool bf16)
      : planes_(planes),
        rows_(rows),
        cols_(cols),
        margin_(margin),
        bf16_(bf16),
        memory_(std::size_t(size(step)) * (bf16 ? 2 : 4), true) {}

  int planes() const noexcept { return planes_; }
  int rows() const noexcept { return rows_; }
  int cols() const noexcept { return cols_; }
  std::size_t bytes() const noexcept { return memory_.size(); }

  engine::Operand operand() noexcept { return {memory_.data(), bf16_}; }
  /// Where a row begins; −margin … rows + margin − 1. In values.
  std::ptrdiff_t place(int plane, int row) const noexcept {
    return (std::ptrdiff_t(plane) * (rows_ + margin_) + margin_ + row) * cols_;
  }
  std::byte* at(int plane, int row) noexcept { return operand().at(place(plane, row)); }
  /// Values between a plane's row and the same of the next.
  std::ptrdiff_t plane_stride() const noexcept { return std::ptrdiff_t(rows_ + margin_) * cols_; }
  void clear(int plane, int row, int count) noexcept {
    std::fill_n(at(plane, row), std::size_t(count) * std::size_t(cols_) * (bf16_ ? 2 : 4),
                std::byte(0));
  }

 private:
  std::ptrdiff_t size(int step) const noexcept {
    const std::ptrdiff_t image = (planes_ * plane_stride() + std::ptrdiff_t(margin_) * cols_);
    const std::ptrdiff_t slack = std::ptrdiff_t(step) * engine::kTapRowSlack * cols_;
    return image + slack + engine::kTapSlack;
  }

  int planes_ = 0, rows_ = 0, cols_ = 0, margin_ = 0;
  bool bf16_ = false;
  engine::PageBuffer memory_;
};

/// Sets where a product's result goes: rows of `to` from value `place` on.
inline void write_to(engine::TapFinish& finish, engine::Operand to, std::ptrdiff_t place,
                     std::ptrdiff_t stride) noexcept {
  if (to.bf16) {
    finish.y_bf16 = reinterpret_cast<std::uint16_t*>(to.at(place));
    finish.y_bf16_stride = stride;
  } else {
    finish.y = reinterpret_cast<float*>(to.at(place));
    finish.y_stride = stride;
  }
}

/// Sets what is added to a product's result.
inline void add_from(engine::TapFinish& finish, engine::Operand from, std::ptrdiff_t place,
                     std::ptrdiff_t stride) noexcept {
  finish.residual = from.at(place);
  finish.residual_is_bf16 = from.bf16;
  finish.residual_stride = stride;
}

}  // namespace runnel::models::htdemucs
