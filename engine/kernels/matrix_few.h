// How the "few" kernels share out rows and panels over registers.
#pragma once

#include <algorithm>
#include <array>
#include <bit>

namespace runnel::engine {

/// Registers for weights and inputs, beside the sums.
constexpr int spare_registers(int registers) { return registers == 16 ? 4 : 6; }

/// The rows, at most so many, whose sums fit, of `sums` registers each.
constexpr int rows_at_once(int registers, int sums, int rows) {
  return std::min(rows, (registers - spare_registers(registers)) / sums);
}

/// The panels, 1, 2, 4 or 8 and at most so many, that `rows` rows read side by side: a processor
/// foresees each as a stream of its own, and eight streams bring half as much again as one.
constexpr int panels_at_once(int registers, int sums, int rows, int panels) {
  int most = 8;
  while (most > 1 &&
         (most > panels || rows * sums * most + spare_registers(registers) > registers)) {
    most /= 2;
  }
  return most;
}

/// Kernel functions by their rows and panels; where so many do not fit, of as many as do.
template <class Function, template <int, int> class Kernel, int kOfRegisters, int kOfSums>
struct FewKernels {
  static constexpr int kRegisters = kOfRegisters, kSums = kOfSums;  // kSums: of a row and panel
  template <int R, int P>
  static constexpr Function pick() {
    constexpr int kRows = rows_at_once(kRegisters, kSums, R);
    return Kernel<kRows, panels_at_once(kRegisters, kSums, kRows, P)>::run;
  }
  template <int R>
  static constexpr std::array<Function, 4> row() {
    return {pick<R, 1>(), pick<R, 2>(), pick<R, 4>(), pick<R, 8>()};
  }
  static constexpr std::array<Function, 4> kAll[] = {row<1>(), row<2>(), row<3>(), row<4>(),
                                                     row<5>(), row<6>(), row<7>(), row<8>()};
  static Function of(int rows, int panels) {
    return kAll[rows - 1][std::bit_width(unsigned(panels)) - 1];
  }
};

/// Calls multiply(kernel, first row, its rows, first panel, its panels) for blocks that fit.
template <class Kernels, class Multiply>
void for_few_blocks(int rows, int panels, const Multiply& multiply) {
  constexpr int kRegisters = Kernels::kRegisters, kSums = Kernels::kSums;
  const int limit = rows_at_once(kRegisters, kSums, rows);
  const int passes = (rows + limit - 1) / limit, most = (rows + passes - 1) / passes;
  for (int p = 0; p < panels;) {
    const int beside = panels_at_once(kRegisters, kSums, most, panels - p);
    for (int r = 0; r < rows; r += most) {
      const int count = std::min(most, rows - r);
      multiply(Kernels::of(count, beside), r, count, p, beside);
    }
    p += beside;
  }
}

}  // namespace runnel::engine
