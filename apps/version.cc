#include "apps/version.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/isa.h"

namespace runnel::apps {
namespace {

std::string processor() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const auto colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

nlohmann::json libraries() {
  return {{"fftw", FFTW_VERSION},
          {"libsamplerate", SAMPLERATE_VERSION},
          {"libsndfile", SNDFILE_VERSION},
          {"portaudio", PORTAUDIO_VERSION}};
}

}  // namespace

std::string version() { return RUNNEL_VERSION; }

std::string version_text() {
  std::string text = "runnel " + version() + "\ninstruction set:";
  for (const engine::Isa isa : engine::supported_isas()) text += " " + std::string(name(isa));
  text += ", best is used (RUNNEL_ISA overrides)\nlibraries:";
  const nlohmann::json all = libraries();
  for (const auto& [library, number] : all.items()) {
    text += " " + library + " " + number.get<std::string>();
  }
  return text;
}

nlohmann::json version_json() {
  std::vector<std::string> supported;
  for (const engine::Isa isa : engine::supported_isas()) supported.emplace_back(name(isa));
  return {{"runnel", version()},         {"isa", std::string(name(engine::chosen_isa()))},
          {"supported_isas", supported}, {"compiler", "gcc-compatible " __VERSION__},
          {"processor", processor()},    {"libraries", libraries()}};
}

}  // namespace runnel::apps
