#include "models/whisper/word_aligner.h"

#include <algorithm>
#include <cmath>

#include "models/whisper/alignment.h"

namespace runnel::models::whisper {
namespace {

constexpr double kSecondsPerPosition = double(kFramesPerPosition) * kHop / kSampleRateHz;

}  // namespace

std::vector<TimedWord> align_words(Session& session, std::span<const int> start_sequence,
                                   std::span<const int> text_tokens,
                                   std::span<const float> logprobs, int frames,
                                   std::string_view language) {
  const Model& model = session.model();
  const SpecialTokens& special = model.tokenizer().special();
  std::vector<int> tokens(start_sequence.begin(), start_sequence.end());
  const int first = int(tokens.size());
  tokens.push_back(special.no_timestamps);
  const std::size_t room = std::size_t(model.config().text_ctx) - tokens.size() - 1;
  text_tokens = text_tokens.first(std::min(text_tokens.size(), room));
  if (text_tokens.empty()) return {};
  tokens.insert(tokens.end(), text_tokens.begin(), text_tokens.end());
  tokens.push_back(special.end_of_text);

  const int rows = int(tokens.size());
  session.keep_alignment(true);
  session.prefill(tokens, rows - 1);
  session.keep_alignment(false);
  // Row first + i attends to where token i of the text is heard: it predicts it.
  const int positions = std::clamp(frames / kFramesPerPosition, 1, model.config().audio_ctx);
  const std::vector<int> reached =
      align_rows([&](int row) { return session.alignment(row); }, rows, first, rows - 1, positions);

  std::vector<TimedWord> words;
  std::size_t at = 0;
  for (WordTokens& word : model.tokenizer().split_to_words(text_tokens, language)) {
    const std::size_t end = std::min(at + word.tokens.size(), text_tokens.size());
    TimedWord timed;
    timed.start = reached[at] * kSecondsPerPosition;
    timed.end = reached[end] * kSecondsPerPosition;
    double sum = 0;
    for (std::size_t i = at; i < end; ++i) sum += std::exp(double(logprobs[i]));
    timed.probability = end > at ? float(sum / double(end - at)) : 0.0f;
    timed.text = std::move(word.text);
    timed.tokens = std::move(word.tokens);
    words.push_back(std::move(timed));
    at = end;
  }
  return words;
}

}  // namespace runnel::models::whisper
