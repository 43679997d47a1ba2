// `runnel completion SHELL`: scripts made from the command line's own tree, so they cannot age.

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "apps/report.h"
#include "apps/subcommand.h"

namespace runnel::apps {
namespace {

std::vector<const CLI::App*> subcommands_of(const CLI::App& root) {
  return root.get_subcommands(std::function<bool(const CLI::App*)>{});
}

/// "--json", "-o": every name of an option that is not positional.
std::vector<std::string> names_of(const CLI::Option& option) {
  std::vector<std::string> names;
  for (const std::string& name : option.get_snames()) names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) names.push_back("--" + name);
  return names;
}

std::vector<const CLI::Option*> options_of(const CLI::App& app) {
  std::vector<const CLI::Option*> options;
  for (const CLI::Option* option : app.get_options()) {
    if (!names_of(*option).empty()) options.push_back(option);
  }
  return options;
}

/// For zsh and fish: within single quotes.
std::string plain(std::string text) {
  std::string result;
  for (const char c : text) {
    if (c != '\'' && c != '[' && c != ']' && c != ':') result += c;
  }
  return result;
}

std::string words(const CLI::App& app) {
  std::string list;
  for (const CLI::Option* option : options_of(app)) {
    for (const std::string& name : names_of(*option)) list += (list.empty() ? "" : " ") + name;
  }
  return list;
}

std::string names_of(const std::vector<const CLI::App*>& apps) {
  std::string list;
  for (const CLI::App* app : apps) list += (list.empty() ? "" : " ") + app->get_name();
  return list;
}

/// Cases of "COMMAND … " for `app` and what is below it, the inner ones first. A command with
/// commands of its own offers them instead of files.
std::string bash_cases(const CLI::App& app, const std::string& path) {
  std::string cases;
  const auto below = subcommands_of(app);
  for (const CLI::App* sub : below) cases += bash_cases(*sub, path + sub->get_name() + " ");
  if (path.empty()) return cases;
  return cases + "    '" + path + "'*) words='" + words(app) + "' names='" + names_of(below) +
         "' ;;\n";
}

std::string bash(const CLI::App& root) {
  return "# bash completion of runnel\n_runnel() {\n"
         "  local current=\"${COMP_WORDS[COMP_CWORD]}\" words='" +
         words(root) + "' names='" + names_of(subcommands_of(root)) +
         "'\n  local path= word\n"
         "  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
         "    [[ $word != -* ]] && path+=\"$word \"\n  done\n"
         "  case $path in\n" +
         bash_cases(root, "") +
         "  esac\n"
         "  if [[ $current == -* ]]; then\n"
         "    COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
         "  elif [[ -n $names ]]; then\n"
         "    COMPREPLY=($(compgen -W \"$names\" -- \"$current\"))\n  else\n"
         "    COMPREPLY=($(compgen -f -- \"$current\"))\n  fi\n"
         "}\ncomplete -o filenames -F _runnel runnel\n";
}

std::string zsh_arguments(const CLI::App& app) {
  std::string text = "_arguments";
  for (const CLI::Option* option : options_of(app)) {
    const bool takes_value = option->get_expected_max() > 0;
    for (const std::string& name : names_of(*option)) {
      text += " \\\n      '" + name + "[" + plain(option->get_description()) + "]" +
              (takes_value ? ":value:_files" : "") + "'";
    }
  }
  return text + " \\\n      '*:file:_files'";
}

/// Looks at the word behind the command's own, and goes on from there.
std::string zsh_commands(const CLI::App& app) {
  std::string names;
  std::string cases;
  for (const CLI::App* sub : subcommands_of(app)) {
    names += "    '" + sub->get_name() + ":" + plain(sub->get_description()) + "'\n";
    const std::string inner =
        subcommands_of(*sub).empty() ? zsh_arguments(*sub) : "\n" + zsh_commands(*sub);
    cases += "    " + sub->get_name() + ") shift words; (( CURRENT-- )); " + inner + " ;;\n";
  }
  return "  names=(\n" + names +
         "  )\n  if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then\n"
         "    _describe command names\n    return\n  fi\n  case $words[2] in\n" +
         cases + "    *) " + zsh_arguments(app) + " ;;\n  esac";
}

std::string zsh(const CLI::App& root) {
  return "#compdef runnel\n_runnel() {\n  local -a names\n" + zsh_commands(root) +
         "\n}\ncompdef _runnel runnel\n";
}

/// `when`: fish's condition under which the words of `app` are offered.
std::string fish_commands(const CLI::App& app, const std::string& when) {
  std::string script;
  const auto below = subcommands_of(app);
  const std::string none = below.empty() ? when
                                         : when + (when.empty() ? "" : "; and ") +
                                               "not __fish_seen_subcommand_from " + names_of(below);
  const std::string condition =
      none.empty() ? std::string() : std::string(" -n '").append(none).append("'");
  for (const CLI::App* sub : below) {
    script += "complete -c runnel" + condition + " -a " + sub->get_name() + " -d '" +
              plain(sub->get_description()) + "'\n";
  }
  for (const CLI::Option* option : options_of(app)) {
    script += "complete -c runnel" + condition;
    for (const std::string& name : option->get_snames()) script += " -s " + name;
    for (const std::string& name : option->get_lnames()) script += " -l " + name;
    if (option->get_expected_max() > 0) script += " -r";
    script += " -d '" + plain(option->get_description()) + "'\n";
  }
  for (const CLI::App* sub : below) {
    script += fish_commands(*sub, when + (when.empty() ? "" : "; and ") +
                                      "__fish_seen_subcommand_from " + sub->get_name());
  }
  return script;
}

std::string fish(const CLI::App& root) {
  return "# fish completion of runnel\n" + fish_commands(root, "");
}

}  // namespace

Subcommand add_completion(CLI::App& root) {
  CLI::App* app = root.add_subcommand("completion", "Print a completion script for a shell");
  app->footer(
      "Examples:\n"
      "  runnel completion bash > ~/.local/share/bash-completion/completions/runnel\n"
      "  runnel completion zsh > ~/.zfunc/_runnel\n"
      "  runnel completion fish > ~/.config/fish/completions/runnel.fish");
  auto shell = std::make_shared<std::string>();
  app->add_option("shell", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  return {app, [&root, shell] {
            print(*shell == "bash" ? bash(root) : *shell == "zsh" ? zsh(root) : fish(root));
            return 0;
          }};
}

}  // namespace runnel::apps
