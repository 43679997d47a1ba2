#include "apps/models.h"

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/default_model.h"
#include "apps/model_store.h"
#include "apps/model_upkeep.h"
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
  runnel models pull default        a small model that hears people, for English
  runnel models pull htdemucs       what -n htdemucs needs
  runnel models pull whisper-base   from the hub (RUNNEL_HUB: another address) into RUNNEL_MODELS
                                    or ~/.local/share/runnel/models
  runnel models verify              whether all that was pulled is still as it came
  runnel models default base        what transcribe uses without -m
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
    const auto stored = find_stored(model);
    list.push_back({{"name", model.name},
                    {"architecture", model.architecture()},
                    {"task", model.task()},
                    {"sample_rate_hz", rate_of(model)},
                    {"embedded", false},
                    {"repository", model.repository},
                    {"download_megabytes", model.megabytes},
                    {"folder", stored ? nlohmann::json(stored->path.string()) : nlohmann::json()},
                    {"description", model.description}});
  }
  return list;
}

nlohmann::json stored_json() {
  nlohmann::json list = nlohmann::json::array();
  for (const StoredModel& model : stored_models()) {
    list.push_back({{"name", model.name},
                    {"form", model.form},
                    {"bytes", bytes_under(model.path)},
                    {"path", model.path.string()},
                    {"cached", model.is_cached}});
  }
  return list;
}

std::string stored_table() {
  std::vector<std::vector<std::string>> rows = {{"HERE", "FORM", "SIZE", "PATH"}};
  for (const StoredModel& model : stored_models()) {
    rows.push_back({model.name, std::string(model.form),
                    fixed(1e-6 * double(bytes_under(model.path)), 1) + " MB", model.path.string()});
  }
  return rows.size() == 1 ? "no models on the disk\n" : table(rows, {2});
}

int show_default() {
  for (const bool live : {false, true}) {
    const DefaultModel model = default_model({.live = live, .translates = false, .language = {}});
    print(std::string(live ? "live:  " : "files: ") + one_line(model.name) + " (" +
          one_line(model.reason) + ")\n");
  }
  return 0;
}

void add_quiet(CLI::App& app, bool& quiet) { app.add_flag("-q,--quiet", quiet, "Only errors"); }

CLI::App* add_pull(CLI::App& models, PullOptions& options) {
  CLI::App* app = models.add_subcommand("pull", "Download models: resumable, checksums checked");
  app->footer("Examples:\n  runnel models pull default\n  runnel models pull turbo tiny.en");
  app->add_option("names", options.names, "whisper-base, or only base (runnel models), or default")
      ->type_name("NAME")
      ->required();
  app->add_flag("--force", options.force, "Again, even if it is there");
  add_quiet(*app, options.quiet);
  return app;
}

/// What the other commands are told.
struct UpkeepOptions {
  std::vector<std::string> names;
  std::string name;
  bool quiet = false, clear = false;
};

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
         "* default of its task (transcribe: where nothing better is here); separate -n and "
         "transcribe -m also take a checkpoint's path, and "
         "pulled models\n";
}

std::string hub_models_table() {
  std::vector<std::vector<std::string>> rows = {{"NAME", "TASK", "SIZE", "HERE", "DESCRIPTION"}};
  for (const HubModel& model : hub_models()) {
    rows.push_back({std::string(model.name), std::string(model.task()),
                    std::to_string(model.megabytes) + " MB", find_stored(model) ? "yes" : "no",
                    std::string(model.description)});
  }
  return table(rows, {2}) + "runnel models pull NAME downloads into " +
         one_line(model_folders().front().string()) + "\n";
}

Subcommand add_models(CLI::App& root) {
  CLI::App* app =
      root.add_subcommand("models", "List the models, pull them, check and remove them");
  app->footer(kExamples);
  auto json = std::make_shared<bool>(false);
  app->add_flag("--json", *json, "As JSON");
  auto pull_options = std::make_shared<PullOptions>();
  CLI::App* pull = add_pull(*app, *pull_options);

  auto options = std::make_shared<UpkeepOptions>();
  CLI::App* list = app->add_subcommand("list", "What is on the disk, in the hub's cache, too");
  list->add_flag("--json", *json, "As JSON");
  CLI::App* remove = app->add_subcommand("remove", "Delete pulled models; caches of others stay");
  remove->add_option("names", options->names, "As runnel models list shows it")
      ->type_name("NAME")
      ->required();
  add_quiet(*remove, options->quiet);
  CLI::App* verify = app->add_subcommand("verify", "Check sizes and checksums of pulled models");
  verify->add_option("names", options->names, "Without: all that were pulled")->type_name("NAME");
  add_quiet(*verify, options->quiet);
  CLI::App* standard =
      app->add_subcommand("default", "Show or fix what transcribe uses without --model");
  standard->footer("Without a name it is the best that is on the disk (docs/transcribe.md).");
  CLI::Option* name = standard->add_option(
      "name", options->name, "As --model takes it; moonshine-runnel-en: inside the program");
  name->type_name("NAME");
  standard->add_flag("--clear", options->clear, "Let the best one be chosen again")->excludes(name);

  return {app, [=] {
            if (pull->parsed()) return pull_models(*pull_options);
            if (remove->parsed()) return remove_models(options->names, options->quiet);
            if (verify->parsed()) return verify_models(options->names, options->quiet);
            if (standard->parsed()) {
              if (options->clear) clear_fixed_model();
              if (name->count() > 0) fix_model(options->name);
              return show_default();
            }
            if (list->parsed()) {
              print(*json ? dump(stored_json(), 2) + "\n" : stored_table());
            } else if (*json) {
              print(dump(models_json(), 2) + "\n");
            } else {
              print(models_table() + "\n" + hub_models_table() + "\n" + stored_table());
            }
            return 0;
          }};
}

}  // namespace runnel::apps
