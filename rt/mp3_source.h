// MP3 (and MPEG audio layers 1 and 2) files.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "rt/descriptor.h"
#include "rt/source.h"

struct mpg123_handle_struct;

namespace runnel::rt {

/// Where a file goes on behind its ID3v2 tags, if any. Doesn't move its position.
std::int64_t after_id3_tags(int file);

/// Whether a file starts with MPEG audio, perhaps behind tags or the end of a frame. Doesn't move
/// its position.
bool is_mpeg_audio(int file);

/// Reads every frame up to the end of the file, whatever the first one says about the length: files
/// that were joined, and what is behind a damaged part. The encoder's delay is removed where a LAME
/// header tells it. Where a later part has another rate or channel count, it is brought to the
/// first one's.
class Mp3Source : public AudioSource {
 public:
  /// Throws std::runtime_error in one line; Interrupted if `stop` is requested before its format
  /// is known.
  Mp3Source(Descriptor file, const std::string& name, const Interrupt* stop = nullptr);
  ~Mp3Source() override;

  int read(float* interleaved, int max_frames) override;

 private:
  /// One more frame into decoded_, or at_end_.
  void decode_frame();
  /// What the decoder reads through.
  static ssize_t read_ahead(void* self, void* out, std::size_t bytes);
  /// Compares where the frame lies with where the one before ended.
  void look_for_a_gap();
  void finish();
  std::string time() const;  // of the last sample, for messages

  const Descriptor file_;
  /// Looking for a frame, the decoder asks for each byte.
  std::vector<std::byte> buffer_ = std::vector<std::byte>(1 << 16);
  std::span<const std::byte> ahead_;  // of buffer_: read, and not yet asked for
  mpg123_handle_struct* decoder_ = nullptr;
  std::int64_t frame_end_ = -1;  // byte behind the last frame; −1: none yet
  int errors_in_row_ = 0;
  long native_rate_hz_ = 0;
  bool at_end_ = false;
  std::int64_t decoded_frames_ = 0;
  std::vector<float> decoded_;  // interleaved, handed out from decoded_at_ on
  std::size_t decoded_at_ = 0;
};

}  // namespace runnel::rt
