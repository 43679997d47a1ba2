// `runnel transcribe mic`, and --stream and --realtime for files and pipes.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "apps/transcribe.h"
#include "models/whisper/live.h"

namespace runnel::apps {

struct LiveTranscribeOptions {
  bool stream = false;    // a file or pipe through the live path, as fast as it comes
  bool realtime = false;  // the same at 1×
  models::whisper::LiveTranscriberOptions transcriber{};
  double duration_seconds = 0;  // of input, then the end; 0: until it ends
  std::string input_device;
  double device_latency_ms = 0;
  std::string policy = "local-agreement";
};

/// Adds --stream, --realtime, --policy, --step-ms, …; `options` lives as long as the app.
void add_live_options(CLI::App& app, LiveTranscribeOptions& options);

/// Whether the command line asks for run_live_transcription.
bool is_live(const TranscribeOptions& options, const LiveTranscribeOptions& live);

/// One input, transcribed while it comes. Ctrl-C ends it; what was heard until then is finished and
/// printed. Returns the exit code; throws UsageError or std::runtime_error in one line.
int run_live_transcription(const TranscribeOptions& options, const LiveTranscribeOptions& live,
                           const SharedModel& model);

}  // namespace runnel::apps
