#include "models/whisper/local_agreement.h"

#include <algorithm>
#include <cctype>
#include <utility>

namespace runnel::models::whisper {
namespace {

constexpr double kOverlapSeconds = 0.1;  // a word's time differs by so much from pass to pass
constexpr double kRepeatSeconds = 1.0;   // a repetition begins this near to the last commit
constexpr std::size_t kLongestRepeat = 5;

bool is_ascii_mark(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte < 0x80 && !std::isalnum(byte);
}

}  // namespace

std::string bare_word(std::string_view word) {
  while (!word.empty() && is_ascii_mark(word.front())) word.remove_prefix(1);
  while (!word.empty() && is_ascii_mark(word.back())) word.remove_suffix(1);
  std::string bare(word);
  for (char& c : bare) {
    if (c >= 'A' && c <= 'Z') c = char(c - 'A' + 'a');
  }
  return bare;
}

std::vector<LiveWord> LocalAgreement::update(std::vector<LiveWord> words) {
  // The buffer still holds audio that was committed: its words come again.
  const auto fresh = std::find_if(words.begin(), words.end(), [this](const LiveWord& word) {
    return word.start > committed_until_ - kOverlapSeconds;
  });
  words.erase(words.begin(), fresh);
  drop_repeated(words);

  std::size_t agreed = 0;
  while (agreed < std::min(words.size(), tail_.size()) &&
         words[agreed].text == tail_[agreed].text) {
    ++agreed;
  }
  tail_ = std::move(words);
  return commit_tail(tail_.size() - agreed);
}

std::vector<LiveWord> LocalAgreement::commit_tail(std::size_t but) {
  const std::size_t count = tail_.size() - std::min(but, tail_.size());
  const auto end = tail_.begin() + std::ptrdiff_t(count);
  for (auto word = tail_.begin(); word != end; ++word) commit(*word);
  std::vector<LiveWord> committed(std::make_move_iterator(tail_.begin()),
                                  std::make_move_iterator(end));
  tail_.erase(tail_.begin(), end);
  return committed;
}

void LocalAgreement::restart(double seconds) {
  tail_.clear();
  committed_.clear();
  committed_until_ = std::max(committed_until_, seconds);
  last_start_ = std::max(last_start_, seconds);
}

/// The shortest run of words that ends the committed ones and begins the new ones is taken away.
void LocalAgreement::drop_repeated(std::vector<LiveWord>& words) const {
  if (words.empty() || words[0].start > committed_until_ + kRepeatSeconds) return;
  const std::size_t longest = std::min({kLongestRepeat, committed_.size(), words.size()});
  for (std::size_t n = 1; n <= longest; ++n) {
    const auto repeats = std::equal(
        committed_.end() - std::ptrdiff_t(n), committed_.end(), words.begin(),
        [](const std::string& old, const LiveWord& word) { return old == bare_word(word.text); });
    if (!repeats) continue;
    words.erase(words.begin(), words.begin() + std::ptrdiff_t(n));
    return;
  }
}

void LocalAgreement::commit(LiveWord& word) {
  word.start = std::max(word.start, last_start_);
  word.end = std::max({word.end, word.start, committed_until_});
  last_start_ = word.start;
  committed_until_ = word.end;
  committed_.push_back(bare_word(word.text));
  if (committed_.size() > kLongestRepeat) committed_.erase(committed_.begin());
}

std::optional<double> trim_point(std::span<const double> segment_ends, double committed_until) {
  std::optional<double> point;
  for (const double end : segment_ends) {
    if (end <= committed_until) point = end;
  }
  return point;
}

}  // namespace runnel::models::whisper
