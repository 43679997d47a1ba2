#include "apps/models.h"

#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/subcommand.h"
#include "apps/text.h"
#include "models/catalog.h"

namespace runnel::apps {
namespace {

nlohmann::json models_json() {
  nlohmann::json list = nlohmann::json::array();
  for (const models::CatalogEntry& entry : models::catalog()) {
    list.push_back({{"name", entry.name},
                    {"architecture", entry.architecture},
                    {"task", entry.task},
                    {"stems", entry.stems},
                    {"sample_rate_hz", entry.sample_rate_hz},
                    {"embedded", entry.embedded},
                    {"default", entry.name == models::kDefaultSeparator},
                    {"description", entry.description}});
  }
  return list;
}

}  // namespace

void print_models(std::FILE* file) {
  std::vector<std::vector<std::string>> rows = {
      {"NAME", "TASK", "STEMS", "RATE", "EMBEDDED", "DESCRIPTION"}};
  for (const models::CatalogEntry& entry : models::catalog()) {
    const bool is_default = entry.name == models::kDefaultSeparator;
    rows.push_back({std::string(entry.name) + (is_default ? " *" : ""), std::string(entry.task),
                    std::string(entry.stems), std::to_string(entry.sample_rate_hz),
                    entry.embedded ? "yes" : "no", std::string(entry.description)});
  }
  std::fputs(table(rows, {3}).c_str(), file);
  std::fputs("* default; -n also takes the path of a checkpoint\n", file);
}

Subcommand add_models(CLI::App& root) {
  CLI::App* app = root.add_subcommand("models", "List the models");
  app->footer("Examples:\n  runnel models\n  runnel models --json | jq '.[].name'");
  auto json = std::make_shared<bool>(false);
  app->add_flag("--json", *json, "As JSON");
  return {app, [json] {
            if (*json) {
              std::cout << models_json().dump(2) << std::endl;
            } else {
              print_models(stdout);
            }
            return 0;
          }};
}

}  // namespace runnel::apps
