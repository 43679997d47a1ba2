// Streaming sample rate conversion on libsamplerate.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/aligned_vector.h"
#include "engine/view.h"

struct SRC_STATE_tag;

namespace runnel::engine {
class ThreadPool;
}

namespace runnel::dsp {

/// libsamplerate's band-limited sinc filters: the better, the longer (and slower).
enum class ResamplerQuality { kFast, kMedium, kBest };

/// Audio at one rate in, the same audio at another rate out: a Stage<AudioChunk, AudioChunk>.
///
/// Output sample k is the band-limited input at time k / out_rate: nothing is shifted. After
/// `flush` exactly resampled_length(n) samples have come out for n samples in. Equal rates copy.
/// Output is stamped with the time of the input it stands for; where the input's stamps jump (a
/// device dropped samples), the audio is taken as continuous and the output's stamps jump with the
/// first sample that the new audio touches.
class Resampler {
 public:
  /// Throws std::invalid_argument unless the rates are positive and at most 256 times apart,
  /// 1 ≤ channels ≤ 128 and max_chunk ≥ 1; std::runtime_error where libsamplerate fails. The
  /// channels are shared out to `pool`, which outlives this, may be null and changes no sample; not
  /// in a live step, since a pool of several threads has a lock.
  Resampler(int in_rate_hz, int out_rate_hz, int channels, int max_chunk,
            ResamplerQuality quality = ResamplerQuality::kMedium,
            engine::ThreadPool* pool = nullptr);

  void push(const AudioChunk& chunk) noexcept;  // up to max_chunk samples, all channels
  bool pop(AudioChunk& chunk) noexcept;         // up to max_output() samples
  void flush() noexcept;
  void reset() noexcept;

  /// In input samples: output sample k is there at the latest when input sample
  /// ⌊k · in_rate / out_rate⌋ + latency_samples() has been pushed. Half the filter's length; 0 at
  /// equal rates.
  std::int64_t latency_samples() const noexcept { return latency_; }

  /// The most samples that one `pop` hands out: the max_chunk of the next stage.
  int max_output() const noexcept { return max_output_; }

  int in_rate_hz() const noexcept { return in_rate_; }
  int out_rate_hz() const noexcept { return out_rate_; }
  int channels() const noexcept { return channels_; }
  int max_chunk() const noexcept { return max_chunk_; }

 private:
  struct Close {
    void operator()(SRC_STATE_tag* converter) const noexcept;
  };

  /// Some of the channels, converted together.
  struct Lane {
    int first = 0, channels = 0;
    std::unique_ptr<SRC_STATE_tag, Close> converter;
    std::vector<float> in;   // [max_chunk, channels], interleaved
    std::vector<float> out;  // [max_output, channels], interleaved
  };

  int convert(Lane& lane, int in_frames, int out_frames) noexcept;
  /// n samples of every lane's `in` to out_; returns how many came out.
  int convert_all(int n) noexcept;
  int measure_latency();

  int in_rate_;
  int out_rate_;
  int channels_;
  int max_chunk_;
  int max_output_;
  int latency_ = 0;
  engine::ThreadPool* pool_;
  std::vector<Lane> lanes_;   // none at equal rates
  int out_stride_;            // of a channel in out_
  AlignedVector<float> out_;  // [channels, max_output]

  struct Progress {
    std::int64_t pushed = 0;    // input samples
    std::int64_t produced = 0;  // output samples
    int ready = 0;              // output samples that pop hands out next
    int zeros = 0;              // to push yet, after the flush
    std::int64_t origin = 0;    // time stamp of output sample 0, had the input's not jumped
    bool flushed = false;
  } progress_;
};

/// ⌈n · out_rate / in_rate⌉: how many output samples stand for n input samples.
std::int64_t resampled_length(std::int64_t n, int in_rate_hz, int out_rate_hz) noexcept;

}  // namespace runnel::dsp
