#include "apps/source_flags.h"

#include <CLI/CLI.hpp>

namespace runnel::apps {

void SourceFlags::add_to(CLI::App& app) {
  rt::PipeFormat& pipe = options_.pipe;
  app.add_option("--raw", raw_, "stdin holds raw samples of this format")
      ->check(CLI::IsMember({"f32le", "s16le"}));
  app.add_option("--rate", pipe.rate_hz, "Rate of raw samples")
      ->type_name("HZ")
      ->check(CLI::Range(1, 768'000))
      ->needs("--raw");
  app.add_option("--channels", pipe.channels, "Channels of raw samples")
      ->check(CLI::Range(1, 64))
      ->needs("--raw");
  app.add_option("--audio-track", options_.audio_track,
                 "Which audio track of files that hold several, as videos do (from 1)")
      ->type_name("N")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
}

rt::SourceOptions SourceFlags::options(const std::string& command, bool from_stdin) const {
  rt::SourceOptions options = options_;
  if (raw_.empty()) return options;
  if (!from_stdin || options.pipe.rate_hz == 0 || options.pipe.channels == 0) {
    throw UsageError(command + ": --raw describes stdin (-) and needs --rate and --channels");
  }
  options.pipe.raw = raw_ == "f32le" ? rt::SampleFormat::kFloat32 : rt::SampleFormat::kInt16;
  return options;
}

}  // namespace runnel::apps
