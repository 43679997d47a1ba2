#include "apps/models.h"

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/model_store.h"
#include "apps/models_pull.h"
#include "apps/report.h"
#include "apps/subcommand.h"
#include "apps/text.h"
#include "models/catalog.h"
#include "models/transcript.h"

namespace runnel::apps {
namespace {

constexpr const char* kExamples = R"(Examples:
  runnel models                     what there is, and what is here
  runnel models pull htdemucs       what -n htdemucs needs
  runnel models pull whisper-base   from the hub (RUNNEL_HUB: another address) into RUNNEL_MODELS
                                    or ~/.local/share/runnel/models
  runnel models --json | jq '.[].name')";

int rate_of(const HubModel& model) {
  constexpr int kMusicRateHz = 44100;
  return model.task() == "separation" ? kMusicRateHz : models::kSpeechRateHz;
}

nlohmann::json models_json() {
  nlohmann::json list = nlohmann::json::array();
  for (const models::CatalogEntry& entry : models::catalog()) {
    list.push_back({{"name", entry.name},
                    {"architecture", entry.architecture},
                    {"task", entry.task},
                    {"stems", entry.stems},
                    {"sample_rate_hz", entry.sample_rate_hz},
                    {"embedded", entry.embedded},
                    {"default", models::is_default(entry)},
                    {"description", entry.description}});
  }
  for (const HubModel& model : hub_models()) {
    const auto folder = find_pulled(model);
    list.push_back({{"name", model.name},
                    {"architecture", model.architecture()},
                    {"task", model.task()},
                    {"sample_rate_hz", rate_of(model)},
                    {"embedded", false},
                    {"repository", model.repository},
                    {"download_megabytes", model.megabytes},
                    {"folder", folder ? nlohmann::json(folder->string()) : nlohmann::json()},
                    {"description", model.description}});
  }
  return list;
}

}  // namespace

std::string models_table() {
  std::vector<std::vector<std::string>> rows = {
      {"NAME", "TASK", "STEMS", "RATE", "EMBEDDED", "DESCRIPTION"}};
  for (const models::CatalogEntry& entry : models::catalog()) {
    rows.push_back({std::string(entry.name) + (models::is_default(entry) ? " *" : ""),
                    std::string(entry.task), std::string(entry.stems),
                    std::to_string(entry.sample_rate_hz), entry.embedded ? "yes" : "no",
                    std::string(entry.description)});
  }
  return table(rows, {3}) +
         "* default of its task; separate -n and transcribe -m also take a checkpoint's path, and "
         "pulled models\n";
}

std::string hub_models_table() {
  std::vector<std::vector<std::string>> rows = {{"NAME", "TASK", "SIZE", "HERE", "DESCRIPTION"}};
  for (const HubModel& model : hub_models()) {
    rows.push_back({std::string(model.name), std::string(model.task()),
                    std::to_string(model.megabytes) + " MB", find_pulled(model) ? "yes" : "no",
                    std::string(model.description)});
  }
  return table(rows, {2}) + "runnel models pull NAME downloads into " +
         one_line(model_folders().front().string()) + "\n";
}

Subcommand add_models(CLI::App& root) {
  CLI::App* app = root.add_subcommand("models", "List the models, or pull some from the hub");
  app->footer(kExamples);
  auto json = std::make_shared<bool>(false);
  app->add_flag("--json", *json, "As JSON");
  CLI::App* pull = app->add_subcommand("pull", "Download models: resumable, checksums checked");
  pull->footer("Examples:\n  runnel models pull whisper-base\n  runnel models pull turbo tiny.en");
  auto options = std::make_shared<PullOptions>();
  pull->add_option("names", options->names, "whisper-base, or only base (runnel models)")
      ->type_name("NAME")
      ->required();
  pull->add_flag("--force", options->force, "Again, even if it is there");
  pull->add_flag("-q,--quiet", options->quiet, "Only errors");
  return {app, [json, pull, options] {
            if (pull->parsed()) return pull_models(*options);
            if (*json) {
              print(dump(models_json(), 2) + "\n");
            } else {
              print(models_table() + "\n" + hub_models_table());
            }
            return 0;
          }};
}

}  // namespace runnel::apps
