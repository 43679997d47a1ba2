// Everything that `ffmpeg` reads, decoded by it in a process of its own.
#pragma once

#include <memory>
#include <string>

#include "rt/child_process.h"
#include "rt/wav_source.h"

namespace runnel::rt {

/// Whether a program of this name is on the PATH.
bool has_ffmpeg();

/// One audio track of a file, streamed as float WAV. The child ends with the source.
class FfmpegSource : public WavSource {
 public:
  /// `track` is counted from 1. Throws std::runtime_error in one line; Interrupted if
  /// `stop` is requested before anything came.
  static std::unique_ptr<FfmpegSource> open(const std::string& path, int track,
                                            const Interrupt* stop);

  int read(float* interleaved, int max_frames) override;

 private:
  FfmpegSource(const std::string& path, std::unique_ptr<ChildProcess> ffmpeg,
               const Interrupt* stop);

  std::unique_ptr<ChildProcess> ffmpeg_;  // until its end
  bool brought_audio_ = false;
};

}  // namespace runnel::rt
