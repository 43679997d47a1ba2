// How far the stems of HTDemucs's live window are from those of the whole track:
//
//   sliding_quality random:htdemucs|CHECKPOINT recording.mp3 [precision [threads]]
//
// Signal to distortion in dB over all stems, behind the first segment, where the window is full.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "models/htdemucs/network.h"
#include "models/sliding_separator.h"
#include "models/track_separator.h"
#include "rt/source.h"

namespace {

using namespace runnel;

constexpr double kHops[] = {0.25, 0.5, 1.0};
constexpr double kLookaheads[] = {0, 0.25, 0.5, 1.0};
constexpr double kCrossfade = 0.05;
constexpr int kChunk = 4096;

using Rows = std::vector<std::vector<float>>;

Rows read_recording(const std::string& path, models::SeparatorFormat& format) {
  const auto source_file = rt::open_source(path);
  rt::AudioSource& source = *source_file;
  format = {source.rate_hz(), source.channels(), kChunk};
  Rows rows(std::size_t(format.channels));
  std::vector<float> frames(std::size_t(kChunk * format.channels));
  for (int n; (n = source.read(frames.data(), kChunk)) > 0;) {
    for (int i = 0; i < n * format.channels; ++i) {
      rows[std::size_t(i % format.channels)].push_back(frames[std::size_t(i)]);
    }
  }
  return rows;
}

/// Calls visit(chunk) for the recording's chunks.
template <class Visit>
void for_each_chunk(const Rows& recording, int rate_hz, const Visit& visit) {
  std::vector<float> buffer(recording.size() * kChunk);
  const std::size_t total = recording.front().size();
  for (std::size_t at = 0; at < total; at += kChunk) {
    const int n = int(std::min<std::size_t>(kChunk, total - at));
    for (std::size_t c = 0; c < recording.size(); ++c) {
      std::copy_n(recording[c].begin() + std::ptrdiff_t(at), n, buffer.begin() + kChunk * c);
    }
    visit(
        AudioChunk{{buffer.data(), int(recording.size()), n, kChunk}, {std::int64_t(at), rate_hz}});
  }
}

Rows separate(models::StemSeparator& separator, const Rows& recording) {
  Rows rows(std::size_t(separator.stems() * separator.format().channels));
  const auto take = [&] {
    for (Stems stems; separator.pop(stems);) {
      for (std::size_t r = 0; r < rows.size(); ++r) {
        const auto samples = stems.samples.row(int(r));
        rows[r].insert(rows[r].end(), samples.begin(), samples.end());
      }
    }
  };
  for_each_chunk(recording, separator.format().rate_hz, [&](const AudioChunk& chunk) {
    separator.push(chunk);
    take();
  });
  separator.flush();
  take();
  return rows;
}

/// Of samples [first, last) of every row.
double sdr(const Rows& wanted, const Rows& found, std::size_t first, std::size_t last = SIZE_MAX) {
  double signal = 0, distortion = 0;
  for (std::size_t r = 0; r < wanted.size(); ++r) {
    for (std::size_t i = first; i < std::min(last, wanted[r].size()); ++i) {
      const double apart = double(wanted[r][i]) - double(found[r].at(i));
      signal += double(wanted[r][i]) * double(wanted[r][i]);
      distortion += apart * apart;
    }
  }
  return 10 * std::log10(signal / distortion);
}

int run(const std::string& name, const std::string& recording_path,
        const engine::ComputeConfig& compute) {
  const auto bag = name.starts_with("random:") ? models::htdemucs::random_bag(name.substr(7))
                                               : models::htdemucs::open_bag(name);
  const auto model = std::make_shared<models::htdemucs::Network>(bag, compute);
  models::SeparatorFormat format;
  const Rows recording = read_recording(recording_path, format);
  const auto first =
      std::size_t(std::ceil(double(model->samples()) / model->rate_hz() * format.rate_hz));
  if (recording.front().size() <= first) {
    throw std::runtime_error(recording_path + ": expected more than a segment of " +
                             std::to_string(double(model->samples()) / model->rate_hz()) + " s");
  }
  models::TrackStatistics statistics(*model, format);
  for_each_chunk(recording, format.rate_hz,
                 [&](const AudioChunk& chunk) { statistics.push(chunk); });
  const auto levels = statistics.finish();
  const auto track = [&](double overlap, bool running) {
    models::TrackOptions options{.overlap = overlap};
    if (!running) options.normalization = levels;
    models::TrackSeparator separator(model, format, options);
    return separate(separator, recording);
  };
  const auto live = [&](double hop, double lookahead) {
    models::SlidingSeparator separator(model, format,
                                       {.hop_seconds = hop,
                                        .lookahead_seconds = lookahead,
                                        .crossfade_seconds = std::min(kCrossfade, lookahead)});
    return separate(separator, recording);
  };
  const Rows whole = track(0.25, false);
  std::printf("%s, %s, %s; dB from %.1f to %.1f s\n", recording_path.c_str(), name.c_str(),
              std::string(engine::name(compute.encoder)).c_str(), double(first) / format.rate_hz,
              double(whole[0].size()) / format.rate_hz);
  std::printf("offline, levels running: %.1f\n", sdr(whole, track(0.25, true), first));
  for (const double overlap : {0.5, 0.75}) {
    std::printf("offline, overlap %.2f: %.1f\n", overlap, sdr(whole, track(overlap, false), first));
  }
  // A hop of a whole segment without lookahead has the windows of overlap 0.
  const std::size_t last = whole[0].size() / first * first;
  std::printf("live, hop of a segment, against offline, overlap 0: %.1f\n",
              sdr(track(0, true), live(double(model->samples()) / model->rate_hz(), 0), 0, last));
  for (const double hop : kHops) {
    for (const double lookahead : kLookaheads) {
      std::printf("live, hop %.2f, lookahead %.2f: %.1f\n", hop, lookahead,
                  sdr(whole, live(hop, lookahead), first));
      std::fflush(stdout);
    }
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3 || argc > 5) {
    std::fprintf(stderr,
                 "usage: sliding_quality random:NAME|CHECKPOINT recording [precision"
                 " [threads]]\n");
    return 2;
  }
  try {
    engine::ComputeConfig compute = engine::ComputeConfig::of(argc > 3 ? argv[3] : "auto");
    compute.threads = argc > 4 ? std::atoi(argv[4]) : 0;
    return run(argv[1], argv[2], compute);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
