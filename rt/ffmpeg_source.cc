#include "rt/ffmpeg_source.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <sstream>
#include <stdexcept>

namespace runnel::rt {
namespace {

constexpr std::size_t kMaxLineBytes = 300;  // of what ffmpeg says

/// Waits for the first byte; false at the end without one, or at `stop`.
bool brings_something(int descriptor, const Interrupt* stop) {
  for (;;) {
    std::array<pollfd, 2> waiting = {
        pollfd{.fd = descriptor, .events = POLLIN, .revents = 0},
        pollfd{.fd = stop ? stop->descriptor() : -1, .events = POLLIN, .revents = 0}};
    if (stop && stop->requested()) return false;
    if (poll(waiting.data(), waiting.size(), -1) <= 0 || waiting[0].revents == 0) continue;
    int bytes = 0;
    return ioctl(descriptor, FIONREAD, &bytes) == 0 && bytes > 0;
  }
}

/// The first line of what it complained about, without "[mov,mp4 @ 0x55…] " and "file:NAME: ", or
/// how it ended.
std::string account(const ChildProcess::Result& result, const std::string& path) {
  const std::size_t begin = std::min(result.err.find_first_not_of(" \r\n"), result.err.size());
  std::string line = result.err.substr(begin, result.err.find_first_of("\r\n", begin) - begin);
  if (line.starts_with('[')) {
    const std::size_t end = line.find("] ");
    if (end != std::string::npos) line.erase(0, end + 2);
  }
  const std::string prefix = "file:" + path + ": ";
  if (line.starts_with(prefix)) line.erase(0, prefix.size());
  if (line.empty()) return "ffmpeg ended with status " + std::to_string(result.exit_code);
  line.insert(0, "ffmpeg: ");
  if (line.size() <= kMaxLineBytes) return line;
  std::size_t end = kMaxLineBytes;
  while (end > 0 && (line[end] & 0xC0) == 0x80) --end;  // in front of a whole character of UTF-8
  return line.substr(0, end) + "…";
}

}  // namespace

bool has_ffmpeg() {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path != nullptr ? path : "");
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (access((folder + "/ffmpeg").c_str(), X_OK) == 0) return true;
  }
  return false;
}

std::unique_ptr<FfmpegSource> FfmpegSource::open(const std::string& path, int track,
                                                 const Interrupt* stop) {
  // "file:" because names may start with a dash or hold a colon, as those of protocols.
  auto ffmpeg = std::make_unique<ChildProcess>(
      std::vector<std::string>{"ffmpeg", "-nostdin", "-hide_banner", "-loglevel", "error",
                               "-protocol_whitelist", "file,pipe", "-i", "file:" + path, "-map",
                               "0:a:" + std::to_string(track - 1), "-c:a", "pcm_f32le", "-f", "wav",
                               "-"},
      ChildProcess::CtrlC::kReachesUs);
  ffmpeg->end_input();
  if (brings_something(ffmpeg->output(), stop)) {
    return std::unique_ptr<FfmpegSource>(new FfmpegSource(path, std::move(ffmpeg), stop));
  }
  const auto result = ffmpeg->wait_unless({stop});
  if (!result) throw Interrupted(path + ": interrupted before any audio came");
  std::string what = "expected an audio file";
  if (track > 1) what += " with " + std::to_string(track) + " audio tracks";
  const bool no_track = result->err.find("matches no streams") != std::string::npos;
  throw std::runtime_error(path + ": " + what + ", found something else (" +
                           (no_track ? "ffmpeg: no such audio track" : account(*result, path)) +
                           ")");
}

FfmpegSource::FfmpegSource(const std::string& path, std::unique_ptr<ChildProcess> ffmpeg,
                           const Interrupt* stop)
    : WavSource(ffmpeg->output(), {}, path, stop), ffmpeg_(std::move(ffmpeg)) {
  format_.is_float = false;  // whatever the file holds: ffmpeg scaled it
}

int FfmpegSource::read(float* interleaved, int max_frames) {
  if (!ffmpeg_) return 0;
  const int got = WavSource::read(interleaved, max_frames);
  brought_audio_ |= got > 0;
  if (got > 0 || cancelled() || max_frames <= 0) return got;
  const auto result = ffmpeg_->wait_unless({&cancel_, stop_});
  if (!result) {
    cancelled();  // so that was_cut() says why
    return 0;
  }
  ffmpeg_.reset();
  if (!result->err.empty() || result->exit_code != 0) {
    add_damage(account(*result, name()));
  }
  if (!brought_audio_) add_damage("ffmpeg decoded nothing of it");
  return 0;
}

}  // namespace runnel::rt
