// One of the inputs that are transcribed side by side.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "apps/transcribe/live_input.h"
#include "apps/transcribe/live_output.h"
#include "apps/transcribe/live_stats.h"
#include "apps/transcribe/live_transcription.h"
#include "models/live_transcriber.h"

namespace runnel::apps {

/// An input, its way through the model, and where its text goes. Weights and standard output are
/// shared with other sessions, the rest is its own. One thread, which is main's.
class LiveSession {
 public:
  using Outputs = std::vector<std::unique_ptr<LiveOutput>>;

  /// `printing` is held while anything is printed.
  LiveSession(const TranscribeOptions& options, const TranscriptInfo& info,
              std::unique_ptr<LiveInput> input,
              std::unique_ptr<models::LiveTranscriber> transcriber, Outputs outputs,
              std::mutex& printing);

  const std::string& name() const noexcept { return info_.input; }
  std::string description() const { return input_->description(); }
  bool is_endless() const { return input_->is_endless(); }
  bool notifies() const { return input_->notifies(); }

  void start();
  /// Everything was heard, or the printer cannot go on. Until then call it when main is woken, and
  /// now and then if the input does not notify.
  bool is_done();
  /// Ends the input.
  void stop();
  /// After stop(): what is queued is heard and printed. Throws what the printer met.
  void finish(bool complete);

  /// After finish(), in one line each; empty: none.
  std::string warning() const { return input_->warning(); }
  std::string failure() const { return input_->failure(); }
  nlohmann::ordered_json stats() const;
  std::string table() const;

 private:
  void end_input();

  const TranscribeOptions& options_;
  const TranscriptInfo info_;
  std::mutex& printing_;
  const Outputs outputs_;
  LiveStats stats_;
  std::string language_;  // of the last event
  std::unique_ptr<LiveTranscription> path_;
  std::unique_ptr<LiveInput> input_;  // writes into path_
  std::int64_t begin_ns_ = 0;
  bool input_over_ = false;
};

}  // namespace runnel::apps
