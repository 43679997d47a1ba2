// One pass over a window of live audio: log-mel, encoder, greedy decoding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "models/whisper/align_att.h"
#include "models/whisper/hypothesis.h"
#include "models/whisper/transcriber.h"

namespace runnel::models::whisper {

enum class LivePolicy { kLocalAgreement, kAlignAtt };

/// What to listen to. Samples count from the stream's start, at 16 kHz.
struct LiveRequest {
  std::int64_t begin = 0;  // window [begin, end), at most 30 s
  std::int64_t end = 0;
  std::string prompt;          // committed text from before the window
  std::vector<int> committed;  // AlignAtt: tokens in the window that decoding goes on from
  double committed_until = 0;  // AlignAtt: seconds in the stream where the last of them ends
  bool last = false;           // no more audio of this utterance will come
};

/// Keeps the audio that it may be asked for. Inheritance, since the tests of LiveTranscriber script
/// what is heard.
class LiveRecogniser {
 public:
  virtual ~LiveRecogniser() = default;
  /// The stream's next samples, 16 kHz mono.
  virtual void push(std::span<const float> samples) = 0;
  /// The stream is over: what a push still held back can be asked for.
  virtual void finish() = 0;
  /// Samples before this one will not be asked for any more.
  virtual void forget(std::int64_t sample) = 0;
  /// Whether a window [begin, end) would tell more than the last one did: what reads the audio in
  /// chunks has nothing new until the next is whole.
  virtual bool has_news(std::int64_t begin, std::int64_t end) const { return begin < end; }
  /// With LocalAgreement all words of the window; with AlignAtt those after the committed ones that
  /// the policy lets through.
  virtual Hypothesis recognise(const LiveRequest& request) = 0;
  /// Tokens of the running line; with more, what follows them is short of room in the model's text
  /// context.
  virtual std::size_t most_tokens() const = 0;
  /// Ready for another stream.
  virtual void reset() = 0;
};

/// Whisper itself. Each hop's log-mel is computed once, whatever the windows. Decoding is greedy,
/// without timestamp tokens: word times are the positions that the alignment heads attend to. Of
/// `options` it heeds task, language (empty: detected until it has heard ten seconds of speech in
/// one window), suppress_tokens, suppress_blank and max_tokens. Throws std::invalid_argument for a
/// language or task that the model doesn't have.
std::unique_ptr<LiveRecogniser> make_live_recogniser(std::shared_ptr<const Model> model,
                                                     const DecodeOptions& options,
                                                     LivePolicy policy,
                                                     const AlignAttOptions& align_att = {});

}  // namespace runnel::models::whisper
