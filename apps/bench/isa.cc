// `runnel bench --isa all`: the instruction set is chosen once a process, so each gets its own.

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "apps/bench/bench.h"
#include "apps/version.h"
#include "engine/isa.h"

namespace runnel::apps {
namespace {

/// For a POSIX shell.
std::string quoted(const std::string& text) {
  std::string result = "'";
  for (const char c : text) {
    if (c == '\'') {
      result += "'\\''";
    } else {
      result += c;
    }
  }
  return result + "'";
}

std::string output_of(const std::string& command) {
  std::FILE* pipe = popen(command.c_str(), "r");
  if (!pipe) throw std::runtime_error("cannot run " + command);
  std::string output;
  std::array<char, 4096> buffer{};
  while (const std::size_t n = std::fread(buffer.data(), 1, buffer.size(), pipe)) {
    output.append(buffer.data(), n);
  }
  if (pclose(pipe) != 0) throw std::runtime_error("failed: " + command);
  return output;
}

}  // namespace

nlohmann::json bench_isas(const std::string& what, const std::vector<std::string>& arguments) {
  std::error_code failure;
  const std::string program = std::filesystem::read_symlink("/proc/self/exe", failure).string();
  if (failure) throw std::runtime_error("/proc/self/exe: " + failure.message());
  nlohmann::json runs = nlohmann::json::array();
  for (const engine::Isa isa : engine::supported_isas()) {
    std::string command = "RUNNEL_ISA=" + std::string(name(isa)) + " " + quoted(program) +
                          " bench " + what + " --json";
    for (const std::string& argument : arguments) command += " " + quoted(argument);
    runs.push_back(nlohmann::json::parse(output_of(command)));
  }
  return {{"versions", version_json()}, {"bench", what}, {"isas", runs}};
}

}  // namespace runnel::apps
