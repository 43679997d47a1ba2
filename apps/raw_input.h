// The flags that describe raw samples on standard input.
#pragma once

#include <string>

#include "apps/subcommand.h"
#include "rt/source.h"

namespace runnel::apps {

/// --raw, --rate and --channels of one subcommand.
class RawInput {
 public:
  void add_to(CLI::App& app);

  /// After parsing. `from_stdin`: standard input is what is read. Throws UsageError.
  rt::PipeFormat format(const std::string& command, bool from_stdin) const;

 private:
  std::string raw_;
  rt::PipeFormat format_;
};

}  // namespace runnel::apps
