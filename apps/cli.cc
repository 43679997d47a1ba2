#include "apps/cli.h"

#include <fcntl.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <new>
#include <sstream>
#include <string>
#include <vector>

#include "apps/report.h"
#include "apps/subcommand.h"
#include "apps/text.h"
#include "apps/version.h"

namespace runnel::apps {
namespace {

constexpr int kFailure = 1;
constexpr int kUsage = 2;
constexpr const char* kOutOfMemory = "runnel: out of memory\n";

constexpr const char* kExamples = R"(Examples:
  runnel separate meeting.wav                  separated/gtcrn-runnel/meeting/{speech,background}.wav
  runnel separate mic                          hear yourself without the noise (Ctrl-C ends)
  runnel transcribe mic                        captions while you speak
  runnel transcribe talk.mp3 -f srt            subtitles of a talk
  cat a.wav | runnel separate - -o - > b.wav   as a filter in a pipe
  runnel latency --pipeline                    where the milliseconds go
  runnel completion bash > ~/.local/share/bash-completion/completions/runnel

Each subcommand has its own examples: runnel separate --help)";

void print_line(const std::string& message) {
  std::fprintf(stderr, "runnel: %s\n", one_line(message).c_str());
}

/// --help and --version are no errors; the rest is one line that says where help is.
int report(const CLI::App& root, const CLI::ParseError& error) {
  if (error.get_exit_code() == 0) {
    std::ostringstream text;
    const int exit_code = root.exit(error, text, text);
    print(text.str());
    return exit_code;
  }
  std::string where = root.get_name();
  for (const CLI::App* app = &root; !app->get_subcommands().empty();) {
    app = app->get_subcommands().front();
    where += " " + app->get_name();
  }
  print_line(std::string(error.what()) + " (see " + where + " --help)");
  return kUsage;
}

/// The message on one line and without controls, whatever names of files it holds.
class CleanMessage : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&,
              spdlog::memory_buf_t& line) override {
    const std::string text = one_line({message.payload.data(), message.payload.size()});
    line.append(text.data(), text.data() + text.size());
  }
  std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<CleanMessage>();
  }
};

void set_up_logging(const std::string& level) {
  const auto colors =
      takes_escapes(stderr) ? spdlog::color_mode::automatic : spdlog::color_mode::never;
  auto logger = spdlog::stderr_color_mt("runnel", colors);
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  formatter->add_flag<CleanMessage>('*').set_pattern("%^%l%$: %*");
  logger->set_formatter(std::move(formatter));
  spdlog::set_default_logger(logger);
  spdlog::set_level(spdlog::level::from_str(level));
}

/// The arguments, last first as CLI11 takes them. openai-whisper's way of writing is accepted:
/// --beam_size is --beam-size, and "--word_timestamps True" is --word-timestamps=True.
std::vector<std::string> arguments(int argc, char** argv) {
  std::vector<std::string> list;
  bool are_options = true;
  for (int i = 1; i < argc; ++i) {
    std::string word = argv[i];
    const bool is_boolean = word == "True" || word == "False";
    const bool after_option =
        !list.empty() && list.back().starts_with("--") && list.back().find('=') == word.npos;
    if (word == "--") are_options = false;
    if (are_options && word.starts_with("--")) {
      const auto name_end = word.begin() + std::ptrdiff_t(std::min(word.find('='), word.size()));
      std::replace(word.begin(), name_end, '_', '-');
    } else if (are_options && is_boolean && after_option) {
      list.back() += "=" + word;
      continue;
    }
    list.push_back(std::move(word));
  }
  std::reverse(list.begin(), list.end());
  return list;
}

/// A file opened while standard output was closed (>&-) would become standard output, and text
/// would be written over it. What was closed stays so: reads and writes fail, as they would have.
void keep_standard_descriptors() {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(descriptor, F_GETFD) >= 0) continue;
    // Takes the lowest number that is free, which is this one.
    if (open("/dev/null", descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0) return;
  }
}

int parse_and_run(int argc, char** argv) {
  CLI::App root("Real-time streaming audio: speech out of noise, text out of speech", "runnel");
  root.set_version_flag("--version", version_text());
  root.footer(kExamples);
  root.require_subcommand(1);
  root.fallthrough();
  std::string log_level = "warn";
  root.add_option("--log-level", log_level, "What to log to stderr")
      ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error", "off"}))
      ->capture_default_str();
  const std::vector<Subcommand> subcommands = {
      add_separate(root), add_transcribe(root), add_latency(root),   add_devices(root),
      add_bench(root),    add_models(root),     add_completion(root)};
  try {
    root.parse(arguments(argc, argv));
  } catch (const CLI::ParseError& error) {
    return report(root, error);
  }
  set_up_logging(log_level);
  for (const Subcommand& subcommand : subcommands) {
    if (root.got_subcommand(subcommand.app)) return subcommand.run();
  }
  return kUsage;
}

/// Where memory runs out in a function that may not throw, as CLI11 has some, there is still a
/// line. What else ends here is a fault of the program.
[[noreturn]] void on_terminate() noexcept {
  try {
    if (std::current_exception()) throw;
  } catch (const std::bad_alloc&) {
    std::fputs(kOutOfMemory, stderr);
    std::_Exit(kFailure);
  } catch (...) {
  }
  std::abort();
}

}  // namespace

const CLI::Option* find_option(const CLI::App& app, const std::string& name) {
  for (const CLI::Option* option : app.get_options()) {
    if (option->check_name(name)) return option;
  }
  return nullptr;
}

CLI::Validator above_zero() {
  const auto check = [](std::string& text) -> std::string {
    double number = 0;
    if (CLI::detail::lexical_cast(text, number) && number > 0 && std::isfinite(number)) return {};
    return "expected a number above 0, found '" + text + "'";
  };
  return CLI::Validator(check, "POSITIVE");
}

CLI::Option* add_force(CLI::App& app, bool& force) {
  return app.add_flag("--force", force,
                      "Let an output replace a file that is no older output; an input never");
}

int run(int argc, char** argv) noexcept {
  // A reader that went away is an error of the write, with a message, not a silent death. A full
  // RLIMIT_FSIZE likewise.
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  std::set_terminate(on_terminate);
  keep_standard_descriptors();
  try {
    return parse_and_run(argc, argv);
  } catch (const UsageError& error) {
    print_line(error.what());
    return kUsage;
  } catch (const std::bad_alloc&) {
    std::fputs(kOutOfMemory, stderr);
  } catch (const std::exception& error) {
    print_line(error.what());
  } catch (...) {
    print_line("unknown failure");
  }
  return kFailure;
}

}  // namespace runnel::apps
