#include "models/moonshine/word_timing.h"

#include <algorithm>
#include <cmath>

#include "models/unicode.h"

namespace runnel::models::moonshine {
namespace {

// How long a token is thought to last: unhurried speech has some 15 letters a second.
constexpr double kSecondsPerToken = 0.06;
constexpr double kSecondsPerLetter = 0.055;

/// Takes out single tokens whose attention went astray: each becomes the median of itself and its
/// neighbours.
std::vector<double> without_outliers(std::span<const double> centres) {
  std::vector<double> out(centres.begin(), centres.end());
  for (std::size_t i = 1; i + 1 < centres.size(); ++i) {
    const double a = centres[i - 1], b = centres[i], c = centres[i + 1];
    out[i] = std::max(std::min(a, b), std::min(std::max(a, b), c));
  }
  return out;
}

/// The rising sequence that is nearest (least squares): neighbours that fall share their mean.
void make_rising(std::vector<double>& values) {
  struct Block {
    double sum;
    int count;
    double mean() const { return sum / count; }
  };
  std::vector<Block> blocks;
  for (const double v : values) {
    blocks.push_back({v, 1});
    while (blocks.size() > 1 && blocks[blocks.size() - 2].mean() > blocks.back().mean()) {
      const Block last = blocks.back();
      blocks.pop_back();
      blocks.back().sum += last.sum;
      blocks.back().count += last.count;
    }
  }
  std::size_t i = 0;
  for (const Block& block : blocks) {
    for (int n = 0; n < block.count; ++n) values[i++] = block.mean();
  }
}

/// Half of what a token is thought to last, in seconds.
double half_width(std::string_view bytes) {
  int letters = 0;
  for (std::size_t i = 0; i < bytes.size();) {
    const Utf8Char c = utf8_at(bytes, i);
    const CharClass kind = c.valid ? char_class(c.code) : CharClass::kOther;
    letters += kind == CharClass::kLetter || kind == CharClass::kNumber;
    i += c.bytes;
  }
  return 0.5 * (kSecondsPerToken + kSecondsPerLetter * letters);
}

}  // namespace

std::vector<LiveWord> words_of(const Tokenizer& tokenizer, const Pass& pass, double start,
                               double audio) {
  const std::size_t n = pass.tokens.size();
  std::vector<double> centres(n);
  for (std::size_t i = 0; i < n; ++i) {
    const double seconds = (double(pass.frames[i]) + 0.5) / Config::kFramesPerSecond;
    centres[i] = std::isfinite(seconds) ? std::clamp(seconds, 0.0, audio) : 0;
  }
  centres = without_outliers(centres);
  make_rising(centres);
  std::vector<LiveWord> words;
  double earliest = 0;  // the end of the word before
  for (std::size_t first = 0; first < n;) {
    std::size_t end = first + 1;
    std::string bytes(tokenizer.bytes_of(pass.tokens[first]));
    double probability = std::exp(double(pass.logprobs[first]));
    for (; end < n && !tokenizer.begins_word(pass.tokens[end]); ++end) {
      bytes += tokenizer.bytes_of(pass.tokens[end]);
      probability += std::exp(double(pass.logprobs[end]));
    }
    const std::string_view head = tokenizer.bytes_of(pass.tokens[first]);
    const std::string_view tail = tokenizer.bytes_of(pass.tokens[end - 1]);
    // Neighbours share the gap between them, as far as they are thought to reach.
    const double gap = end < n ? centres[end] - centres[end - 1] : 2 * (audio - centres[end - 1]);
    LiveWord word;
    word.text = replace_malformed(bytes);
    const double begins = std::max(earliest, centres[first] - half_width(head));
    const double ends = centres[end - 1] + std::min(gap / 2, half_width(tail));
    word.start = start + std::min(begins, audio);
    word.end = start + std::clamp(ends, std::min(begins, audio), audio);
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
