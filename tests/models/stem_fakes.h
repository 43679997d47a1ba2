// Segment models that are made up, and stems as vectors, for the tests of stem separators.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "models/segment_model.h"
#include "models/stem_separator.h"
#include "tests/models/test_audio.h"

namespace runnel::models::testing {

struct FakeShape {
  int stems = 2;
  int channels = 2;
  int rate_hz = 1000;
  int samples = 100;
};

/// Rows that aren't wanted are left as they were, as the interface says. Counts its runs.
class FakeModel final : public SegmentModel {
 public:
  /// Fills one row of a stem from the mix's row: (stem, mix, out).
  using Stem = std::function<void(int, std::span<const float>, std::span<float>)>;

  FakeModel(const FakeShape& shape, Stem stem) : shape_(shape), stem_(std::move(stem)) {
    for (int s = 0; s < shape.stems; ++s) names_.push_back("stem " + std::to_string(s));
  }

  const std::vector<std::string>& stems() const noexcept override { return names_; }
  int channels() const noexcept override { return shape_.channels; }
  int rate_hz() const noexcept override { return shape_.rate_hz; }
  int samples() const noexcept override { return shape_.samples; }

  void run(MatrixView<const float> mix, StemSet wanted, MatrixView<float> out) noexcept override {
    ++runs;
    if (on_mix) on_mix(mix);
    for (int s = 0; s < shape_.stems; ++s) {
      if ((wanted >> s & 1) == 0) continue;
      for (int c = 0; c < shape_.channels; ++c) {
        stem_(s, mix.row(c), out.row(s * shape_.channels + c));
      }
    }
  }

  int runs = 0;
  std::function<void(MatrixView<const float>)> on_mix;  // sees each segment

 private:
  FakeShape shape_;
  Stem stem_;
  std::vector<std::string> names_;
};

/// Stem s is the mix times s + 1.
inline std::shared_ptr<FakeModel> scaling_model(const FakeShape& shape) {
  return std::make_shared<FakeModel>(shape,
                                     [](int s, std::span<const float> mix, std::span<float> out) {
                                       for (std::size_t i = 0; i < mix.size(); ++i)
                                         out[i] = float(s + 1) * mix[i];
                                     });
}

/// What a sample becomes depends on its neighbours on both sides and on its place in the segment,
/// so that any segment that lies elsewhere shows.
inline void place_dependent(int stem, std::span<const float> mix, std::span<float> out) {
  const int n = int(mix.size());
  for (int i = 0; i < n; ++i) {
    const float past = i >= 3 ? mix[std::size_t(i - 3)] : 0.0f;
    const float future = i + 5 < n ? mix[std::size_t(i + 5)] : 0.0f;
    out[std::size_t(i)] = std::tanh(mix[std::size_t(i)]) * float(i) / float(n) + 0.5f * past -
                          0.25f * float(stem + 1) * future + 0.01f * float(i % 7);
  }
}

using StemChannels = std::vector<Channels>;  // [stems][channels][samples]

struct Piece {
  std::int64_t index;
  int frames;
};

/// Appends what the separator hands out.
inline void drain(StemSeparator& separator, StemChannels& out,
                  std::vector<Piece>* pieces = nullptr) {
  Stems stems;
  out.resize(std::size_t(separator.stems()), Channels(std::size_t(separator.format().channels)));
  while (separator.pop(stems)) {
    if (pieces) pieces->push_back({stems.start.index, stems.frames()});
    for (int s = 0; s < stems.count(); ++s) {
      for (int c = 0; c < stems.channels; ++c) {
        const auto samples = stems.stem(s).samples.row(c);
        auto& to = out[std::size_t(s)][std::size_t(c)];
        to.insert(to.end(), samples.begin(), samples.end());
      }
    }
  }
}

inline void push_columns(StemSeparator& separator, const Channels& input, int at, int count) {
  std::vector<float> rows;
  for (const auto& channel : input) {
    rows.insert(rows.end(), channel.begin() + at, channel.begin() + at + count);
  }
  separator.push(chunk_of(rows, int(input.size()), count, at, separator.format().rate_hz));
}

/// Runs `input` through in chunks of `chunk` samples, and flushes.
inline StemChannels separate_in_chunks(StemSeparator& separator, const Channels& input, int chunk) {
  StemChannels out;
  const int n = int(input[0].size());
  for (int at = 0; at < n; at += chunk) {
    push_columns(separator, input, at, std::min(chunk, n - at));
    drain(separator, out);
  }
  separator.flush();
  drain(separator, out);
  return out;
}

/// Infinity where the shapes differ.
inline double largest_difference(const StemChannels& a, const StemChannels& b) {
  double largest = 0;
  if (a.size() != b.size()) return HUGE_VAL;
  for (std::size_t s = 0; s < a.size(); ++s) {
    if (a[s].size() != b[s].size()) return HUGE_VAL;
    for (std::size_t c = 0; c < a[s].size(); ++c) {
      if (a[s][c].size() != b[s][c].size()) return HUGE_VAL;
      const double difference = largest_difference(a[s][c], b[s][c]);
      if (!(difference <= largest)) largest = difference;
    }
  }
  return largest;
}

}  // namespace runnel::models::testing
