#include "apps/separate/output_plan.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <set>
#include <stdexcept>

#include "apps/failures.h"
#include "apps/subcommand.h"
#include "rt/rescaling_sink.h"

namespace runnel::apps {
namespace {

namespace fs = std::filesystem;

void replace_all(std::string& text, const std::string& from, const std::string& to) {
  for (auto at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

std::string track_name(const std::string& input) {
  if (input == "-") return "stdin";
  const std::string stem = fs::path(input).stem().string();
  return stem.empty() || stem == "." || stem == ".." ? "track" : stem;
}

}  // namespace

int find_stem(const std::vector<std::string>& stems, const std::string& name,
              const std::string& option) {
  const auto found = std::find(stems.begin(), stems.end(), name);
  if (found != stems.end()) return int(found - stems.begin());
  std::string known;
  for (const std::string& stem : stems) known += (known.empty() ? "" : ", ") + stem;
  throw UsageError(option + ": expected one of " + known + ", found '" + name + "'");
}

std::string model_folder_name(const std::string& name_or_path) {
  fs::path path(name_or_path);
  if (!path.has_filename()) path = path.parent_path();
  std::error_code odd;
  if (fs::is_directory(path, odd)) return fs::weakly_canonical(path, odd).filename().string();
  return path.has_parent_path() || fs::exists(path, odd) ? path.stem().string() : name_or_path;
}

OutputPlan::OutputPlan(const OutputOptions& options, const std::string& model_name,
                       const std::vector<std::string>& inputs)
    : options_(options) {
  if (options.stems.size() > 1 && options.filename.find("{stem}") == std::string::npos) {
    throw UsageError("--filename '" + options.filename +
                     "' must hold {stem}, or all stems would be one file");
  }
  const fs::path folder = fs::path(options.folder) / model_name;
  std::set<fs::path> taken;
  for (const std::string& input : inputs) {
    const std::string plain = track_name(input);
    Track track{.input = input, .name = plain, .files = files_for(input, plain, folder)};
    const auto is_taken = [&](const File& file) { return taken.contains(file.path); };
    for (int number = 2; std::any_of(track.files.begin(), track.files.end(), is_taken); ++number) {
      track.name = plain + "-" + std::to_string(number);
      auto files = files_for(input, track.name, folder);
      if (files.front().path == track.files.front().path) {
        throw UsageError("--filename '" + options.filename +
                         "' must hold {track}, or several inputs would be one file");
      }
      track.files = std::move(files);
    }
    if (track.name != plain) {
      spdlog::warn("{}: another input is called {}, so this one becomes {}", input, plain,
                   track.name);
    }
    for (const File& file : track.files) taken.insert(file.path);
    tracks_.push_back(std::move(track));
  }
}

std::vector<OutputPlan::File> OutputPlan::files_for(const std::string& input,
                                                    const std::string& track,
                                                    const fs::path& folder) const {
  std::string extension = fs::path(input).extension().string();
  if (!extension.empty()) extension.erase(0, 1);
  std::vector<File> files;
  for (const std::string& stem : options_.stems) {
    std::string name = options_.filename;
    replace_all(name, "{trackext}", extension);
    replace_all(name, "{stem}", stem);
    replace_all(name, "{ext}", options_.format.extension());
    replace_all(name, "{track}", track);  // last: a track's name may hold braces
    files.push_back({stem, folder / name});
  }
  return files;
}

std::unique_ptr<StemWriter> OutputPlan::open(const Track& track,
                                             const std::vector<std::string>& stems, int rate_hz,
                                             int channels, StemWriter::OnFailure tell) const {
  const OutputFormat& format = options_.format;
  auto writer = std::make_unique<StemWriter>(int(stems.size()), channels,
                                             format.clip == ClipMode::kClamp, tell);
  const rt::FileSinkOptions sink{.rate_hz = rate_hz,
                                 .channels = channels,
                                 .format = format.samples,
                                 .mp3_kbps = format.mp3_kbps};
  const auto open_one = [&](std::size_t i) {
    const File& file = track.files[i];
    const int stem = find_stem(stems, file.stem, "stem");
    const std::string path = file.path.string();
    if (format.clip == ClipMode::kRescale) {
      writer->add(stem, std::make_unique<rt::RescalingSink>(path, sink));
    } else {
      writer->add(stem, std::make_unique<rt::FileSink>(path, sink));
    }
  };
  open_each(track.files.size(), open_one, tell);
  return writer;
}

}  // namespace runnel::apps
