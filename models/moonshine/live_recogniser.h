// What live captions need of a model: one utterance's audio in, words out.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "models/live_transcriber.h"
#include "models/moonshine/network.h"

namespace runnel::models::moonshine {

/// A Stream and its text. Inheritance, since the tests of LiveTranscriber script what is heard.
class LiveRecogniser {
 public:
  virtual ~LiveRecogniser() = default;

  // As in Stream.
  virtual void restart() noexcept = 0;
  virtual int push(std::span<const float> samples) noexcept = 0;
  virtual void flush() noexcept = 0;
  virtual int frames() const noexcept = 0;
  virtual Pass decode(std::span<const int> draft, int fixed, int limit) noexcept = 0;

  virtual bool begins_word(int token) const noexcept = 0;
  /// Tokens of a pass from its `first` one on, as words that hold all of them in turn. Times are
  /// seconds since the restart, none before `earliest`. A first token that goes on with a word is a
  /// word of its own, without a leading space.
  virtual std::vector<LiveWord> words(const Pass& pass, int first, double earliest) const = 0;

  virtual double max_seconds() const noexcept = 0;  // of audio between two restarts
  virtual int max_tokens() const noexcept = 0;      // of one hypothesis
  virtual int vocab_size() const noexcept = 0;
  /// Model::latency_samples.
  virtual int latency_samples() const noexcept = 0;
};

/// `bias` (hotwords) may be null.
std::unique_ptr<LiveRecogniser> make_live_recogniser(std::shared_ptr<const Model> model,
                                                     const StreamOptions& options,
                                                     std::shared_ptr<const TokenBias> bias);

}  // namespace runnel::models::moonshine
