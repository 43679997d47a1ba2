#include "apps/raw_input.h"

#include <CLI/CLI.hpp>

namespace runnel::apps {

void RawInput::add_to(CLI::App& app) {
  app.add_option("--raw", raw_, "stdin holds raw samples of this format")
      ->check(CLI::IsMember({"f32le", "s16le"}));
  app.add_option("--rate", format_.rate_hz, "Rate of raw samples")
      ->type_name("HZ")
      ->check(CLI::Range(1, 768'000))
      ->needs("--raw");
  app.add_option("--channels", format_.channels, "Channels of raw samples")
      ->check(CLI::Range(1, 64))
      ->needs("--raw");
}

rt::PipeFormat RawInput::format(const std::string& command, bool from_stdin) const {
  if (raw_.empty()) return {};
  if (!from_stdin || format_.rate_hz == 0 || format_.channels == 0) {
    throw UsageError(command + ": --raw describes stdin (-) and needs --rate and --channels");
  }
  rt::PipeFormat format = format_;
  format.raw = raw_ == "f32le" ? rt::SampleFormat::kFloat32 : rt::SampleFormat::kInt16;
  return format;
}

}  // namespace runnel::apps
