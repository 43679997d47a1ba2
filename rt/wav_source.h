// WAV and raw samples, from a file or a pipe.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "rt/descriptor.h"
#include "rt/source.h"
#include "rt/wav_header.h"

namespace runnel::rt {

/// Little-endian raw samples or a WAV stream (wav_header.h) from a file descriptor. Nothing is ever
/// sought: a file is read like a pipe.
class WavSource : public AudioSource {
 public:
  /// Reads the header of a WAV stream (waits for it). Throws std::runtime_error in one line;
  /// Interrupted if `stop` is requested before the header is there. The descriptor stays open.
  explicit WavSource(int descriptor, const PipeFormat& format = {},
                     const std::string& name = "standard input", const Interrupt* stop = nullptr);
  /// The same of a file of its own.
  WavSource(Descriptor file, const PipeFormat& format, const std::string& name,
            const Interrupt* stop = nullptr)
      : WavSource(file.get(), format, name, stop) {
    file_ = std::move(file);
  }

  int read(float* interleaved, int max_frames) override;
  void cancel() noexcept override;

 protected:
  Interrupt cancel_;  // requested by cancel()

 private:
  /// Waits until there is something to read; false if cancelled() became true before.
  bool wait_readable() noexcept;
  /// Reads until `size` bytes are there, the end, or cancel().
  std::size_t fill(std::byte* bytes, std::size_t size);
  /// Brings at least `frames` more into decoded_; fewer only at the end.
  void refill(int frames);
  void decode(std::size_t bytes);
  /// Where the 24 bits of 32 lie: from what is to come of a file, without reading it.
  void look_for_24_bits();
  void settle_24_bits(std::span<const std::byte> bytes, bool big_endian);
  /// `rest`: bytes behind the last frame.
  void tell_the_end(std::size_t rest);

  Descriptor file_;  // or none
  const int descriptor_;
  const bool is_raw_;
  const bool is_file_;
  WavFormat encoding_;
  std::int64_t bytes_left_ = -1;  // of the audio; −1: unknown
  std::int64_t decoded_frames_ = 0;
  bool at_end_ = false;
  bool told_ = false;
  bool settled_ = false;  // where 24 bits lie in 32
  std::vector<std::byte> buffer_;
  std::vector<float> decoded_;  // interleaved, handed out from decoded_at_ on
  std::size_t decoded_at_ = 0;
};

}  // namespace runnel::rt
