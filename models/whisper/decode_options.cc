#include "models/whisper/decode_options.h"

#include <cmath>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace runnel::models::whisper {
namespace {

constexpr int kMostHypotheses = 8;  // of a Session

template <class T>
void require(bool right, std::string_view option, std::string_view expected, const T& found) {
  if (right) return;
  std::ostringstream message;
  message << option << ": expected " << expected << ", found " << found;
  throw std::invalid_argument(message.str());
}

}  // namespace

void check(const DecodeOptions& options, const Model& model) {
  require(!options.temperatures.empty(), "temperature", "one or more", "none");
  for (const double t : options.temperatures) {
    require(std::isfinite(t) && t >= 0, "temperature", "0 or more", t);
  }
  require(options.best_of >= 1 && options.best_of <= kMostHypotheses, "best of", "1 to 8",
          options.best_of);
  require(options.beam_size >= 1 && options.beam_size <= kMostHypotheses, "beam size", "1 to 8",
          options.beam_size);
  require(std::isfinite(options.patience) && options.patience > 0 && options.patience <= 100,
          "patience", "above 0, at most 100", options.patience);
  if (options.length_penalty) {
    require(*options.length_penalty >= 0 && *options.length_penalty <= 1, "length penalty",
            "0 to 1", *options.length_penalty);
  }
  require(options.max_tokens >= 0 && options.max_tokens <= model.config().text_ctx, "max tokens",
          "0 to " + std::to_string(model.config().text_ctx), options.max_tokens);
  for (const int token : options.suppress_tokens) {
    require(token >= -1 && token < model.config().vocab_size, "suppress tokens",
            "-1 or ids below " + std::to_string(model.config().vocab_size), token);
  }
  require(std::isfinite(options.max_initial_timestamp) && options.max_initial_timestamp >= 0,
          "max initial timestamp", "0 or more seconds", options.max_initial_timestamp);
  if (options.hallucination_silence_threshold) {
    require(*options.hallucination_silence_threshold >= 0, "hallucination silence threshold",
            "0 or more seconds", *options.hallucination_silence_threshold);
    require(options.word_timestamps, "hallucination silence threshold", "word timestamps", "none");
  }
  const Tokenizer& tokenizer = model.tokenizer();
  if (tokenizer.multilingual()) {
    if (!options.language.empty()) tokenizer.language_token(options.language);  // throws
    return;
  }
  require(options.language.empty() || options.language == "en", "language",
          "en, as " + model.label() + " is English-only", options.language);
  require(options.task == Task::kTranscribe, "task",
          "transcribe, as " + model.label() + " is English-only", "translate");
}

}  // namespace runnel::models::whisper
