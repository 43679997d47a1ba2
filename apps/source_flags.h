// The flags that say how an input is to be read.
#pragma once

#include <string>

#include "apps/subcommand.h"
#include "rt/source.h"

namespace runnel::apps {

/// --raw, --rate, --channels and --audio-track of one subcommand.
class SourceFlags {
 public:
  void add_to(CLI::App& app);

  /// After parsing. `from_stdin`: standard input is what is read. Throws UsageError.
  rt::SourceOptions options(const std::string& command, bool from_stdin) const;

 private:
  std::string raw_;
  rt::SourceOptions options_;
};

}  // namespace runnel::apps
