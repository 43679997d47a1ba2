#include "apps/report.h"

#include <unistd.h>

#include <nlohmann/json.hpp>
#include <stdexcept>
#include <system_error>

#include "rt/byte_writer.h"
#include "rt/replacing_file.h"

namespace runnel::apps {

std::string dump(const nlohmann::json& json, int indent) {
  return json.dump(indent, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string dump(const nlohmann::ordered_json& json, int indent) {
  return json.dump(indent, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

void print(std::string_view text) {
  try {
    rt::write_all(STDOUT_FILENO, text);
  } catch (const std::system_error& error) {
    throw std::runtime_error("standard output: cannot be written: " + error.code().message());
  }
}

void write_report(const std::string& path_or_dash, std::string_view text, const std::string& what) {
  if (path_or_dash == "-") return print(text);
  try {
    rt::ReplacingFile file(path_or_dash);
    rt::write_all(file.descriptor(), text);
    file.keep();
  } catch (const std::system_error& error) {
    throw std::runtime_error(path_or_dash + ": " + what + " cannot be written: " + error.what());
  }
}

}  // namespace runnel::apps
