// Which audio a token belongs to: attention to a monotonic path.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "engine/view.h"

namespace runnel::models::whisper {

/// Median of each value and its three neighbours on either side, the ends reflected; n ≤ 3 values
/// are left alone. `out` overlaps nothing.
void median_filter_7(std::span<const float> values, std::span<float> out) noexcept;

/// One cell of a path through a matrix.
struct PathCell {
  int row = 0;
  int column = 0;
};

/// The cheapest path from the first cell to the last that moves one down, one right or both, in
/// order. Among equal costs it moves right first, as openai-whisper's does (timing.py).
std::vector<PathCell> cheapest_path(MatrixView<const float> cost);

/// Rows of attention of every alignment head: weights(row) is [heads, positions].
using AttentionRows = std::function<MatrixView<const float>(int row)>;

/// For each of rows [first, last) of `rows` the audio position (20 ms) where the path reaches it.
/// Over the first `positions` positions each head's weights are normalised to sum to 1, brought to
/// mean 0 and deviation 1 over all `rows` rows, median-filtered and averaged over the heads.
std::vector<int> align_rows(const AttentionRows& weights, int rows, int first, int last,
                            int positions);

}  // namespace runnel::models::whisper
