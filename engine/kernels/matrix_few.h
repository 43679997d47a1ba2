// A few rows times panels: the loops around the kernels that hold sums in registers.
//
// A processor foresees each panel as a stream of its own, and eight streams bring half as much
// again from memory as one. So eight panels are read side by side: as many at once as registers
// hold the sums of, and those in turns of some steps, sums waiting in a buffer.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>

#include "engine/kernels/matrix.h"

namespace runnel::engine {

inline constexpr int kSideBySide = 8;  // panels
inline constexpr int kTurnSteps = 16;  // a turn; a divisor of every number of steps

/// Adds `steps` steps of a block of rows and panels to sums[panel][kFewRows][kSums registers'
/// worth], or starts them at zero where `first`.
using FewKernel = void (*)(const std::byte* x, std::ptrdiff_t row_bytes, int steps,
                           const std::byte* w, std::ptrdiff_t panel_bytes, std::byte* sums,
                           bool first) noexcept;

/// What a kernel keeps in registers.
struct FewRegisters {
  int all;      // that there are
  int sums;     // of a row and panel
  int weights;  // of a panel
  int inputs;   // of a row
  int others;

  constexpr bool hold(int rows, int panels) const {
    return rows * panels * sums + panels * weights + rows * inputs + others <= all;
  }
};

/// The rows, at most so many, that registers hold.
constexpr int rows_at_once(FewRegisters registers, int rows) {
  while (rows > 1 && !registers.hold(rows, 1)) --rows;
  return rows;
}

/// The panels, 1, 2, 4 or 8 and at most so many, that registers hold with so many rows.
constexpr int panels_at_once(FewRegisters registers, int rows, int panels) {
  int most = kSideBySide;
  while (most > 1 && (most > panels || !registers.hold(rows, most))) most /= 2;
  return most;
}

/// Kernels by their rows and panels; where so many do not fit, of as many as do. The sums of a row
/// and panel take kOfSumBytes in a buffer.
template <template <int, int> class Kernel, FewRegisters kOfRegisters, int kOfSumBytes>
struct FewKernels {
  static constexpr FewRegisters kRegisters = kOfRegisters;
  static constexpr int kSumBytes = kOfSumBytes;

  template <int R, int P>
  static constexpr FewKernel pick() {
    constexpr int kRows = rows_at_once(kRegisters, R);
    return Kernel<kRows, panels_at_once(kRegisters, kRows, P)>::run;
  }
  template <int R>
  static constexpr std::array<FewKernel, 4> row() {
    return {pick<R, 1>(), pick<R, 2>(), pick<R, 4>(), pick<R, 8>()};
  }
  static constexpr std::array<FewKernel, 4> kAll[] = {row<1>(), row<2>(), row<3>(), row<4>(),
                                                      row<5>(), row<6>(), row<7>(), row<8>()};
  static FewKernel of(int rows, int panels) {
    return kAll[rows - 1][std::bit_width(unsigned(panels)) - 1];
  }
};

struct FewOperands {
  const std::byte* x;
  std::ptrdiff_t row_bytes;
  int step_bytes;  // of a row
  int rows;
  int steps;
  const std::byte* w;
  int panels;
};

/// Calls finish(sums, first panel, panels, first step, whether all steps are done) for each group
/// of panels after every `exact_steps`, a multiple of kTurnSteps, and after the last.
template <class Kernels, class Finish>
void multiply_few(const FewOperands& o, int exact_steps, const Finish& finish) noexcept {
  constexpr FewRegisters kRegisters = Kernels::kRegisters;
  constexpr int kPanelBytes = kFewRows * Kernels::kSumBytes;
  alignas(64) std::byte sums[kSideBySide * kPanelBytes];
  const std::ptrdiff_t panel_bytes = std::ptrdiff_t(o.steps) * 64;
  const int limit = rows_at_once(kRegisters, o.rows);
  const int passes = (o.rows + limit - 1) / limit, most = (o.rows + passes - 1) / passes;
  for (int group = 0; group < o.panels; group += kSideBySide) {
    const int beside = std::min(kSideBySide, o.panels - group);
    const bool one_block = passes == 1 && panels_at_once(kRegisters, most, beside) == beside;
    for (int begin = 0; begin < o.steps; begin += exact_steps) {
      const int end = std::min(begin + exact_steps, o.steps);
      const int turn = one_block ? end - begin : kTurnSteps;
      for (int s = begin; s < end; s += turn) {
        for (int p = 0; p < beside;) {
          const int panels = panels_at_once(kRegisters, most, beside - p);
          for (int r = 0; r < o.rows; r += most) {
            const FewKernel kernel = Kernels::of(std::min(most, o.rows - r), panels);
            kernel(o.x + r * o.row_bytes + std::ptrdiff_t(s) * o.step_bytes, o.row_bytes, turn,
                   o.w + (group + p) * panel_bytes + std::ptrdiff_t(s) * 64, panel_bytes,
                   sums + p * kPanelBytes + r * Kernels::kSumBytes, s == begin);
          }
          p += panels;
        }
      }
      finish(sums, group, beside, begin, end == o.steps);
    }
  }
}

}  // namespace runnel::engine
