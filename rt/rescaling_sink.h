// A file whose audio is turned down as a whole if it turns out to be louder than full scale.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "rt/sink.h"

namespace runnel::rt {

/// Demucs's `--clip-mode rescale`: divides by max(1.01 · peak, 1), which is known at the end only.
///
/// Memory is constant. The file is written as by FileSink and is valid at any time, with loud
/// samples clamped. From the first loud sample on (in MP3: from the start) a second file beside it,
/// NAME.part.wav, keeps exact floats; finish() then writes the file anew. What integers before that
/// sample had been rounded to is rounded once more, so they are exact to one step of the format.
class RescalingSink : public AudioSink {
 public:
  /// As FileSink.
  RescalingSink(const std::string& path, const FileSinkOptions& options);
  /// Finishes the file if nobody did; errors are then lost.
  ~RescalingSink() override;

  /// Throws std::runtime_error on a full disk; the file then holds what came before, clamped. Where
  /// only the exact floats find no room, they are removed, and the file goes on: finish() tells it.
  void write(const float* interleaved, int frames) override;
  /// Throws std::runtime_error if the file cannot be written anew (a full disk): it then stays as
  /// it was, clamped.
  void finish() override;
  /// After finish(): 0, unless the file stayed clamped.
  std::int64_t clipped_samples() const noexcept override;

  /// What the audio was divided by; 1 before finish().
  double divisor() const noexcept { return divisor_; }

 private:
  void open_exact();
  void drop_exact();
  [[noreturn]] void stay_limited(const std::string& why) const;
  void rescale();

  const std::string path_;
  const FileSinkOptions options_;
  std::unique_ptr<FileSink> file_;
  std::string exact_path_;           // empty: nothing was loud so far
  std::unique_ptr<FileSink> exact_;  // null: as well
  std::int64_t exact_start_ = 0;     // frame at which it starts
  float peak_ = 0;
  double divisor_ = 1;
  std::string exact_failure_;  // without all of it there is nothing to rescale from
  bool finished_ = false;
  bool rescaled_ = false;
};

}  // namespace runnel::rt
