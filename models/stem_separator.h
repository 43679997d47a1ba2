// What every streaming separation is from outside, whatever its model.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "engine/view.h"

namespace runnel::models {

/// What the input is like and how it comes.
struct SeparatorFormat {
  int rate_hz = 16000;
  int channels = 1;
  int max_chunk = 4096;  // most samples of one push
};

/// A Stage<AudioChunk, Stems>: stems come at the input's rate and channels, aligned with it; after
/// flush exactly as many samples as went in. See engine/stage.h. One thread at a time; separators
/// that share a model take turns.
class StemSeparator {
 public:
  virtual ~StemSeparator() = default;

  virtual void push(const AudioChunk& chunk) noexcept = 0;
  virtual bool pop(Stems& stems) noexcept = 0;
  virtual void flush() noexcept = 0;
  virtual void reset() noexcept = 0;

  /// Nothing is gained by a push before there are so many more samples: at least 1.
  virtual int samples_wanted() const noexcept { return 1; }
  /// At the input's rate; see stage.h.
  virtual std::int64_t latency_samples() const noexcept = 0;
  virtual const SeparatorFormat& format() const noexcept = 0;
  /// Stems of each pop, in the model's order.
  virtual int stems() const noexcept = 0;
  /// Most samples that one pop hands out.
  virtual int max_output() const noexcept = 0;
  /// Bytes of this stream alone, without what the model shares.
  virtual std::size_t state_bytes() const noexcept = 0;
  /// Model steps run since the start or reset.
  virtual std::int64_t steps() const noexcept = 0;
};

/// Makes a separator for audio of a format. Throws std::invalid_argument.
using SeparatorFactory = std::function<std::unique_ptr<StemSeparator>(const SeparatorFormat&)>;

}  // namespace runnel::models
