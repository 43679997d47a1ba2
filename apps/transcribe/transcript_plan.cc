#include "apps/transcribe/transcript_plan.h"

#include <spdlog/spdlog.h>

#include <set>

#include "apps/failures.h"
#include "apps/text.h"

namespace runnel::apps {

namespace fs = std::filesystem;

TranscriptPlan::TranscriptPlan(const fs::path& folder, std::vector<TranscriptFormat> formats,
                               const std::vector<std::string>& inputs)
    : formats_(std::move(formats)) {
  std::set<std::string> taken;
  for (const std::string& input : inputs) {
    std::string plain = input == "-" ? "stdin" : fs::path(input).stem().string();
    if (plain.empty()) plain = "transcript";
    Track track{.input = input, .name = plain, .files = {}};
    for (int number = 2; !taken.insert(track.name).second; ++number) {
      track.name = plain + "-" + std::to_string(number);
    }
    if (track.name != plain) {
      spdlog::warn("{}: another input is called {}, so this one becomes {}", input, plain,
                   track.name);
    }
    for (const TranscriptFormat format : formats_) {
      track.files.push_back(folder / (track.name + "." + std::string(name(format))));
    }
    tracks_.push_back(std::move(track));
  }
}

TranscriptPlan::Track TranscriptPlan::of_channel(Track track, int channel) {
  track.name += "-channel-" + std::to_string(channel);
  for (fs::path& file : track.files) {
    file = file.parent_path() / (track.name + file.extension().string());
  }
  return track;
}

std::vector<std::unique_ptr<TranscriptWriter>> TranscriptPlan::open(
    const Track& track, const TranscriptInfo& info, const SubtitleLayout& layout,
    const std::function<void(const std::string&)>& tell) const {
  std::vector<std::unique_ptr<TranscriptWriter>> writers;
  const auto open_one = [&](std::size_t i) {
    writers.push_back(
        make_transcript_writer(formats_[i], TextOutput::file(track.files[i]), info, layout));
  };
  open_each(formats_.size(), open_one, tell);
  return writers;
}

std::string describe(const TranscriptPlan::Track& track) {
  if (track.files.empty()) return one_line(track.input);
  if (track.files.size() == 1) return one_line(track.files[0].string());
  std::string extensions;
  for (const fs::path& file : track.files) {
    extensions += (extensions.empty() ? "" : ",") + file.extension().string().substr(1);
  }
  return one_line((track.files[0].parent_path() / (track.name + ".{" + extensions + "}")).string());
}

}  // namespace runnel::apps
