// `runnel completion SHELL`: scripts made from the command line's own tree, so they cannot age.

#include <iostream>
#include <memory>

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

std::string bash(const CLI::App& root) {
  std::string names;
  std::string cases;
  for (const CLI::App* app : subcommands_of(root)) {
    names += (names.empty() ? "" : " ") + app->get_name();
    cases += "    " + app->get_name() + ") words='" + words(*app) + "' ;;\n";
  }
  return "# bash completion of runnel\n_runnel() {\n"
         "  local current=\"${COMP_WORDS[COMP_CWORD]}\" words='" +
         names + " " + words(root) +
         "'\n  local sub= word\n"
         "  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
         "    [[ $word != -* ]] && { sub=$word; break; }\n  done\n"
         "  case $sub in\n" +
         cases +
         "  esac\n"
         "  if [[ -n $sub && $current != -* ]]; then\n"
         "    COMPREPLY=($(compgen -f -- \"$current\"))\n  else\n"
         "    COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n  fi\n"
         "}\ncomplete -o filenames -F _runnel runnel\n";
}

std::string zsh(const CLI::App& root) {
  std::string names;
  std::string cases;
  for (const CLI::App* app : subcommands_of(root)) {
    names += "    '" + app->get_name() + ":" + plain(app->get_description()) + "'\n";
    cases += "    " + app->get_name() + ") _arguments";
    for (const CLI::Option* option : options_of(*app)) {
      const bool takes_value = option->get_expected_max() > 0;
      for (const std::string& name : names_of(*option)) {
        cases += " \\\n      '" + name + "[" + plain(option->get_description()) + "]" +
                 (takes_value ? ":value:_files" : "") + "'";
      }
    }
    cases += " \\\n      '*:file:_files' ;;\n";
  }
  return "#compdef runnel\n_runnel() {\n  local -a names=(\n" + names +
         "  )\n  if (( CURRENT == 2 )); then _describe command names; return; fi\n"
         "  local sub=$words[2]\n  shift words; (( CURRENT-- ))\n  case $sub in\n" +
         cases + "  esac\n}\ncompdef _runnel runnel\n";
}

std::string fish(const CLI::App& root) {
  std::string script = "# fish completion of runnel\n";
  for (const CLI::App* app : subcommands_of(root)) {
    script += "complete -c runnel -n __fish_use_subcommand -a " + app->get_name() + " -d '" +
              plain(app->get_description()) + "'\n";
    for (const CLI::Option* option : options_of(*app)) {
      script += "complete -c runnel -n '__fish_seen_subcommand_from " + app->get_name() + "'";
      for (const std::string& name : option->get_snames()) script += " -s " + name;
      for (const std::string& name : option->get_lnames()) script += " -l " + name;
      if (option->get_expected_max() > 0) script += " -r";
      script += " -d '" + plain(option->get_description()) + "'\n";
    }
  }
  return script;
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
            std::cout << (*shell == "bash"  ? bash(root)
                          : *shell == "zsh" ? zsh(root)
                                            : fish(root))
                      << std::flush;
            return 0;
          }};
}

}  // namespace runnel::apps
