// A model that separates a segment of fixed length at a time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/thread_pool.h"
#include "engine/view.h"

namespace runnel::models {

/// A set of stems, bit i for stem i.
using StemSet = std::uint32_t;

class SegmentModel {
 public:
  virtual ~SegmentModel() = default;

  virtual const std::vector<std::string>& stems() const noexcept = 0;  // at most 32
  virtual int channels() const noexcept = 0;                           // of the mix and of a stem
  virtual int rate_hz() const noexcept = 0;
  virtual int samples() const noexcept = 0;  // of a segment
  /// The threads of run(), for other work between two runs; null: it has none.
  virtual engine::ThreadPool* pool() const noexcept { return nullptr; }

  /// mix: [channels, samples]. out: [stems · channels, samples], the channels of stem 0 first; only
  /// the rows of `wanted` stems are written, and what is needed for them alone is computed. Uses
  /// the model's own workspace and threads: one caller at a time. Allocates nothing.
  virtual void run(MatrixView<const float> mix, StemSet wanted, MatrixView<float> out) noexcept = 0;
};

}  // namespace runnel::models
