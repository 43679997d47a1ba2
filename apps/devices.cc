#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/report.h"
#include "apps/subcommand.h"
#include "apps/text.h"
#include "rt/device.h"

namespace runnel::apps {
namespace {

nlohmann::json devices_json(const std::vector<rt::DeviceInfo>& devices) {
  nlohmann::json list = nlohmann::json::array();
  for (const rt::DeviceInfo& device : devices) {
    list.push_back({{"index", device.index},
                    {"name", device.name},
                    {"host_api", device.host_api},
                    {"max_input_channels", device.max_input_channels},
                    {"max_output_channels", device.max_output_channels},
                    {"default_rate_hz", device.default_rate_hz},
                    {"low_input_latency_ms", device.low_input_latency_ms},
                    {"high_input_latency_ms", device.high_input_latency_ms},
                    {"low_output_latency_ms", device.low_output_latency_ms},
                    {"high_output_latency_ms", device.high_output_latency_ms},
                    {"default_input", device.default_input},
                    {"default_output", device.default_output}});
  }
  return list;
}

void print_devices(const std::vector<rt::DeviceInfo>& devices) {
  if (devices.empty()) {
    print("no audio devices\n");
    return;
  }
  std::vector<std::vector<std::string>> rows = {
      {"", "NAME", "HOST", "IN", "OUT", "RATE", "LATENCY IN", "OUT ms", "DEFAULT"}};
  for (const rt::DeviceInfo& device : devices) {
    std::string defaults = device.default_input ? "input" : "";
    if (device.default_output) defaults += defaults.empty() ? "output" : ", output";
    rows.push_back(
        {std::to_string(device.index), device.name, device.host_api,
         std::to_string(device.max_input_channels), std::to_string(device.max_output_channels),
         std::to_string(device.default_rate_hz),
         device.max_input_channels > 0 ? fixed(device.low_input_latency_ms, 1) : "-",
         device.max_output_channels > 0 ? fixed(device.low_output_latency_ms, 1) : "-", defaults});
  }
  print(table(rows, {0, 3, 4, 5, 6, 7}));
}

}  // namespace

Subcommand add_devices(CLI::App& root) {
  CLI::App* app = root.add_subcommand("devices", "List the audio devices");
  app->footer("Examples:\n  runnel devices\n  runnel devices --json | jq '.[].name'");
  auto json = std::make_shared<bool>(false);
  app->add_flag("--json", *json, "As JSON");
  return {app, [json] {
            const rt::AudioSystem system;
            if (*json) {
              print(dump(devices_json(system.devices()), 2) + "\n");
            } else {
              print_devices(system.devices());
            }
            return 0;
          }};
}

}  // namespace runnel::apps
