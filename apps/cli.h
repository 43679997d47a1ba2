// The `runnel` program: its command line, and the one place that catches.
#pragma once

namespace runnel::apps {

/// Runs the program; returns its exit code: 0, 1 for a failure, 2 for a wrong command line. Every
/// failure is one line on stderr.
int run(int argc, char** argv) noexcept;

}  // namespace runnel::apps
