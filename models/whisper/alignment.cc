#include "models/whisper/alignment.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

namespace runnel::models::whisper {
namespace {

constexpr int kMedianWidth = 7;

inline void order(float& a, float& b) noexcept {
  const float low = a < b ? a : b;
  b = a < b ? b : a;
  a = low;
}

/// Median of v[0] … v[6] by exchanges without branches.
inline float median(float* v) noexcept {
  order(v[0], v[5]), order(v[0], v[3]), order(v[1], v[6]);
  order(v[2], v[4]), order(v[0], v[1]), order(v[3], v[5]);
  order(v[2], v[6]), order(v[2], v[3]), order(v[3], v[6]);
  order(v[4], v[5]), order(v[1], v[4]), order(v[1], v[3]);
  order(v[3], v[4]);
  return v[3];
}

}  // namespace

void median_filter_7(std::span<const float> values, std::span<float> out) noexcept {
  constexpr int kSide = kMedianWidth / 2;
  const int n = int(values.size());
  if (n <= kSide) {
    std::copy(values.begin(), values.end(), out.begin());
    return;
  }
  const auto at_edge = [&](int i) {
    float v[kMedianWidth];
    for (int k = 0; k < kMedianWidth; ++k) {
      int from = std::abs(i + k - kSide);
      if (from >= n) from = 2 * (n - 1) - from;
      v[k] = values[from];
    }
    return median(v);
  };
  const int inner_end = std::max(n - kSide, kSide);
  for (int i = 0; i < kSide; ++i) out[i] = at_edge(i);
  for (int i = inner_end; i < n; ++i) out[i] = at_edge(i);
  const float* from = values.data();
  float* to = out.data();
  for (int i = kSide; i < inner_end; ++i) {
    float v[kMedianWidth];
    for (int k = 0; k < kMedianWidth; ++k) v[k] = from[i + k - kSide];
    to[i] = median(v);
  }
}

std::vector<PathCell> cheapest_path(MatrixView<const float> cost) {
  enum Move : std::uint8_t { kBoth, kDown, kRight };
  const int rows = cost.rows, columns = cost.cols;
  std::vector<PathCell> path;
  if (rows == 0 || columns == 0) return path;
  constexpr float kFar = std::numeric_limits<float>::infinity();
  // Costs with a border of one row and column, a row at a time; `moves` without the border.
  std::vector<float> above(columns + 1, kFar), here(columns + 1, kFar);
  std::vector<std::uint8_t> moves(std::size_t(rows) * columns);
  above[0] = 0;
  for (int i = 0; i < rows; ++i) {
    here[0] = kFar;
    const std::span<const float> row = cost.row(i);
    std::uint8_t* row_moves = moves.data() + std::size_t(i) * columns;
    for (int j = 0; j < columns; ++j) {
      const float both = above[j], down = above[j + 1], right = here[j];
      float least = right;
      Move move = kRight;
      if (both < down && both < right) {
        least = both, move = kBoth;
      } else if (down < both && down < right) {
        least = down, move = kDown;
      }
      here[j + 1] = row[j] + least;
      row_moves[j] = move;
    }
    std::swap(above, here);
  }
  for (int i = rows - 1, j = columns - 1; i >= 0 && j >= 0;) {
    path.push_back({i, j});
    const std::uint8_t move = moves[std::size_t(i) * columns + j];
    if (i == 0) {
      --j;
    } else if (j == 0 || move == kDown) {
      --i;
    } else if (move == kRight) {
      --j;
    } else {
      --i, --j;
    }
  }
  std::reverse(path.begin(), path.end());
  return path;
}

std::vector<int> align_rows(const AttentionRows& weights, int rows, int first, int last,
                            int positions) {
  std::vector<int> reached(std::max(last - first, 0), 0);
  if (first >= last || positions < 1) return reached;
  const std::size_t width = positions;
  std::vector<float> head(rows * width), filtered(width);
  std::vector<float> cost((last - first) * width, 0.0f);  // minus the sum over heads
  std::vector<float> mean(width), deviation(width);
  const int heads = weights(0).rows;
  for (int h = 0; h < heads; ++h) {
    std::fill(mean.begin(), mean.end(), 0.0f);
    for (int r = 0; r < rows; ++r) {
      const float* from = weights(r).row(h).data();
      float* to = head.data() + r * width;
      double sum = 0;
      for (std::size_t i = 0; i < width; ++i) sum += from[i];
      const float scale = sum > 0 ? float(1.0 / sum) : 0.0f;
      for (std::size_t i = 0; i < width; ++i) {
        to[i] = from[i] * scale;
        mean[i] += to[i];
      }
    }
    for (float& m : mean) m /= float(rows);
    std::fill(deviation.begin(), deviation.end(), 0.0f);
    for (int r = 0; r < rows; ++r) {
      const float* from = head.data() + r * width;
      for (std::size_t i = 0; i < width; ++i) {
        deviation[i] += (from[i] - mean[i]) * (from[i] - mean[i]);
      }
    }
    // From here on `deviation` is what to multiply with; a position that all rows see alike says
    // nothing.
    for (float& d : deviation) d = d > 0 ? 1.0f / std::sqrt(d / float(rows)) : 0.0f;
    for (int r = first; r < last; ++r) {
      float* row = head.data() + r * width;
      for (std::size_t i = 0; i < width; ++i) row[i] = (row[i] - mean[i]) * deviation[i];
      median_filter_7({row, width}, filtered);
      float* to = cost.data() + (r - first) * width;
      for (std::size_t i = 0; i < width; ++i) to[i] -= filtered[i] / float(heads);
    }
  }

  const std::vector<PathCell> path =
      cheapest_path({cost.data(), last - first, positions, positions});
  int row = -1;
  for (const PathCell& cell : path) {
    if (cell.row == row) continue;
    row = cell.row;
    reached[row] = cell.column;
  }
  return reached;
}

}  // namespace runnel::models::whisper
