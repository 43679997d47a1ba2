// One of the inputs that are transcribed side by side.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "apps/failures.h"
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

  /// Opens the input. A transcriber for each lane of the options' channels. `printing` is held
  /// while anything is printed. Outputs that fail are left out, and an input that fails ends:
  /// `failures` is told at once, and the rest goes on.
  LiveSession(const TranscribeOptions& options, const TranscriptInfo& info,
              std::unique_ptr<LiveInput> input, LiveTranscription::Transcribers transcribers,
              std::mutex& printing, Failures& failures);

  /// Before start(): where the text of each lane goes.
  void write_to(std::vector<Outputs> outputs);

  const std::string& name() const noexcept { return info_.input; }
  int lanes() const noexcept { return int(lanes_.size()); }
  std::string description() const { return input_->description(); }
  bool is_endless() const { return input_->is_endless(); }
  bool notifies() const { return input_->notifies(); }

  void start();
  /// Everything was heard, or no output is left. Until then call it when main is woken, and now and
  /// then if the input does not notify.
  bool is_done();
  /// Ends the input.
  void stop();
  /// After stop(): what is queued is heard and printed.
  void finish(bool complete);

  /// After finish(), in one line; empty: none.
  std::string warning() const { return path_->mix().warning(name(), input_->warning()); }
  /// One line for each lane in which nothing was heard.
  std::vector<std::string> silences() const;
  nlohmann::ordered_json stats() const;
  std::string table() const;

 private:
  void print(const TimedEvent& event);
  void end_input();
  nlohmann::ordered_json figures(std::size_t lane) const;

  const TranscribeOptions& options_;
  const TranscriptInfo info_;
  std::mutex& printing_;
  Failures& failures_;
  struct Lane {
    explicit Lane(bool is_paced) : stats(is_paced) {}
    Outputs outputs{};  // that have not failed; the printer's, and main's after the end
    LiveStats stats;
    std::string language{};  // of the last event
    TranscriptEnd end{};
  };
  bool has_outputs() const;
  std::deque<Lane> lanes_;  // they stay where they are
  std::unique_ptr<LiveTranscription> path_;
  std::unique_ptr<LiveInput> input_;  // writes into path_
  std::int64_t begin_ns_ = 0;
  bool input_over_ = false;
};

}  // namespace runnel::apps
