// Files that libsndfile reads: FLAC, Ogg, AIFF, AU, CAF and others.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "rt/descriptor.h"
#include "rt/ogg_pages.h"
#include "rt/source.h"

namespace runnel::rt {

/// Goes on behind damaged parts, and through all links of a chained Ogg file.
class SndfileSource : public AudioSource {
 public:
  /// Throws std::runtime_error in one line; Interrupted if `stop` is requested before its format
  /// is known.
  SndfileSource(Descriptor file, const std::string& path, const Interrupt* stop = nullptr);
  ~SndfileSource() override;

  int read(float* interleaved, int max_frames) override;

 private:
  struct Handle;

  /// False if there is no other link, or none that fits. Both throw Interrupted.
  bool open_next_link();
  void look_at_ogg_pages();
  bool is_flac() const;
  /// Another one joined to the one that is open, by its head: appends it to links_. A decoder that
  /// is lost has read on, nobody knows how far.
  bool find_next_flac(bool is_lost);
  bool open_next_flac();
  /// After an error: whether it is worth to read on.
  bool pass_over_damage();

  const Descriptor file_;
  OggLink whole_{.begin = 0, .end = -1};  // the end: see Handle
  std::vector<OggLink> links_;            // of Ogg, or joined FLACs
  std::size_t link_ = 0;                  // that is open
  std::int64_t link_start_ = 0;           // frames before it, in FLAC
  std::unique_ptr<Handle> handle_;
  std::int64_t read_frames_ = 0;
  int errors_in_row_ = 0;
  std::int64_t silent_frames_ = 0;  // that take the place of what was passed over
  bool at_end_ = false;
};

}  // namespace runnel::rt
