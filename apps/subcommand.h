// What every subcommand gives to the command line.
#pragma once

#include <functional>
#include <stdexcept>
#include <string>

namespace CLI {
class App;
class Option;
class Validator;
}  // namespace CLI

namespace runnel::apps {

/// A wrong command line that only shows after parsing: exit code 2.
struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// `run` is called once if the command line named `app`; it returns the exit code.
struct Subcommand {
  CLI::App* app = nullptr;
  std::function<int()> run;
};

/// Null if there is none. CLI11's own look-up allocates in a noexcept function: without memory it
/// would end the program.
const CLI::Option* find_option(const CLI::App& app, const std::string& name);

/// An option's number must be above 0.
CLI::Validator above_zero();

/// --force: what OutputCheck asks for.
CLI::Option* add_force(CLI::App& app, bool& force);

Subcommand add_separate(CLI::App& root);
Subcommand add_transcribe(CLI::App& root);
Subcommand add_latency(CLI::App& root);
Subcommand add_devices(CLI::App& root);
Subcommand add_bench(CLI::App& root);
Subcommand add_models(CLI::App& root);
Subcommand add_completion(CLI::App& root);

}  // namespace runnel::apps
