// Which transcripts each input becomes.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "apps/transcribe/transcript_writer.h"

namespace runnel::apps {

/// Names for several inputs that cannot overwrite each other (an input: OutputCheck):
/// FOLDER/meeting.srt, FOLDER/meeting-2.srt for the second input of that name.
class TranscriptPlan {
 public:
  struct Track {
    std::string input;
    std::string name;                          // "meeting"
    std::vector<std::filesystem::path> files;  // one a format
  };

  TranscriptPlan(const std::filesystem::path& folder, std::vector<TranscriptFormat> formats,
                 const std::vector<std::string>& inputs);

  /// The same for one of its channels: FOLDER/call-channel-2.srt.
  static Track of_channel(Track track, int channel);
  const std::vector<Track>& tracks() const noexcept { return tracks_; }
  const std::vector<TranscriptFormat>& formats() const noexcept { return formats_; }
  /// Opens the files of a track, one writer each, by open_each().
  std::vector<std::unique_ptr<TranscriptWriter>> open(
      const Track& track, const TranscriptInfo& info, const SubtitleLayout& layout,
      const std::function<void(const std::string&)>& tell) const;

 private:
  std::vector<TranscriptFormat> formats_;
  std::vector<Track> tracks_;
};

/// "out/meeting.{srt,json}", for messages.
std::string describe(const TranscriptPlan::Track& track);

}  // namespace runnel::apps
