#include "models/moonshine/word_timing.h"

#include <algorithm>
#include <cmath>

#include "models/unicode.h"
#include "models/word_times.h"

namespace runnel::models::moonshine {

std::vector<LiveWord> words_of(const Tokenizer& tokenizer, const Pass& pass, double start,
                               double audio, double earliest) {
  const std::size_t n = pass.tokens.size();
  std::vector<double> heard(n), halves(n);
  for (std::size_t i = 0; i < n; ++i) {
    heard[i] = (double(pass.frames[i]) + 0.5) / Config::kFramesPerSecond;
    halves[i] = half_duration(tokenizer.bytes_of(pass.tokens[i]));
  }
  earliest = std::clamp(earliest, 0.0, audio);
  const std::vector<double> centres = rising_centres(heard, halves, earliest, audio);
  std::vector<LiveWord> words;
  for (std::size_t first = 0; first < n;) {
    std::size_t end = first + 1;
    std::string bytes(tokenizer.bytes_of(pass.tokens[first]));
    double probability = std::exp(double(pass.logprobs[first]));
    for (; end < n && !tokenizer.begins_word(pass.tokens[end]); ++end) {
      bytes += tokenizer.bytes_of(pass.tokens[end]);
      probability += std::exp(double(pass.logprobs[end]));
    }
    // Neighbours share the gap between them, as far as they are thought to reach.
    const double gap = end < n ? centres[end] - centres[end - 1] : 2 * (audio - centres[end - 1]);
    LiveWord word;
    word.text = replace_malformed(bytes);
    word.start = start + std::max(earliest, centres[first] - halves[first]);
    word.end = start + centres[end - 1] + std::min(gap / 2, halves[end - 1]);
    word.probability = float(probability / double(end - first));
    word.tokens.assign(pass.tokens.begin() + std::ptrdiff_t(first),
                       pass.tokens.begin() + std::ptrdiff_t(end));
    earliest = word.end - start;
    words.push_back(std::move(word));
    first = end;
  }
  return words;
}

}  // namespace runnel::models::moonshine
