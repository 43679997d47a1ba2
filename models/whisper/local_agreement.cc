#include "models/whisper/local_agreement.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "models/unicode.h"

namespace runnel::models::whisper {
namespace {

// What an alignment costs, in pairs of words.
constexpr double kPair = -1.0;         // the same word in both
constexpr double kReplaced = 1.0;      // another word in its place
constexpr double kDropped = 1.0;       // heard, but not committed before
constexpr double kUnheard = 1.0;       // committed, but not heard in this pass …
constexpr double kUncovered = 0.2;     // … which begins after it
constexpr double kShiftASecond = 2.0;  // a run of pairs at another time …
constexpr double kLongShift = 4.0;     // … at most
constexpr double kEarly = 1.0;         // a new word where there is a committed one …
constexpr double kEarlySeconds = 0.2;  // … by so much, or in proportion

constexpr double kReplacedSeconds = 1.0;  // a word that replaces another is this near to it
constexpr double kTailSeconds = 0.6;      // a word before the window is heard again no later
constexpr double kKeptSeconds = 3.0;      // before the window, a word can't be heard again

double middle(const LiveWord& word) { return (word.start + word.end) / 2; }

double shift_cost(double seconds) {
  return std::min(kLongShift, kShiftASecond * std::abs(seconds));
}

bool is_said(std::string_view text, std::size_t at) {
  const Utf8Char c = utf8_at(text, at);
  if (!c.valid) return true;
  const CharClass kind = char_class(c.code);
  return kind == CharClass::kLetter || kind == CharClass::kNumber;
}

}  // namespace

std::string bare_word(std::string_view word) {
  std::size_t begin = word.size(), end = 0;
  for (std::size_t at = 0; at < word.size();) {
    const std::size_t bytes = utf8_at(word, at).bytes;
    if (is_said(word, at)) {
      begin = std::min(begin, at);
      end = at + bytes;
    }
    at += bytes;
  }
  std::string bare(begin < end ? word.substr(begin, end - begin) : "");
  for (char& c : bare) {
    if (c >= 'A' && c <= 'Z') c = char(c - 'A' + 'a');
  }
  return bare;
}

std::size_t words_heard_again(std::span<const LiveWord> committed, std::span<const LiveWord> heard,
                              double window_begin) {
  if (committed.empty() || heard.empty()) return 0;
  const std::size_t rows = committed.size() + 1, columns = heard.size() + 1;
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  struct Cell {
    double cost = kInfinity;  // the least
    double pair = kInfinity;  // the least of those that end with a pair …
    double shift = 0;         // … whose words are so far apart in time
  };
  std::vector<Cell> above(columns), here(columns);
  std::vector<std::string> bare;
  for (const LiveWord& word : heard) bare.push_back(bare_word(word.text));

  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t j = 0; j < columns; ++j) {
      Cell& cell = here[j] = {};
      if (i == 0 && j == 0) cell.cost = 0;
      if (j > 0) cell.cost = std::min(cell.cost, here[j - 1].cost + kDropped);
      if (i == 0) continue;
      const LiveWord& old = committed[i - 1];
      const double unheard = middle(old) < window_begin       ? 0
                             : old.end <= heard.front().start ? kUncovered
                                                              : kUnheard;
      cell.cost = std::min(cell.cost, above[j].cost + unheard);
      if (j == 0) continue;
      const Cell& before = above[j - 1];
      const double shift = middle(heard[j - 1]) - middle(old);
      const bool same = old.text == bare[j - 1];
      if (!same && std::abs(shift) > kReplacedSeconds) continue;
      // No more than the end of a word before the window is in it.
      if (middle(old) < window_begin && shift > kTailSeconds) continue;
      if (same) {
        const double begun = before.cost + shift_cost(shift);
        const double goes_on = before.pair + shift_cost(shift - before.shift);
        cell.pair = std::min(begun, goes_on) + kPair;
        cell.shift = shift;
      }
      cell.cost = std::min({cell.cost, cell.pair, same ? kInfinity : before.cost + kReplaced});
    }
    std::swap(above, here);
  }

  // The rest is new.
  const double until = committed.back().end;
  std::size_t best = heard.size();
  double least = above[best].cost, early = 0;
  for (std::size_t j = heard.size(); j-- > 0;) {
    early += kEarly * std::clamp((until - middle(heard[j])) / kEarlySeconds, 0.0, 1.0);
    if (above[j].cost + early > least + 1e-9) continue;  // equal sums may differ by rounding
    least = above[j].cost + early;
    best = j;
  }
  return best;
}

std::vector<LiveWord> LocalAgreement::update(std::vector<LiveWord> words, double window_begin) {
  std::erase_if(committed_,
                [&](const LiveWord& word) { return word.end < window_begin - kKeptSeconds; });
  const std::size_t again = words_heard_again(committed_, words, window_begin);
  words.erase(words.begin(), words.begin() + std::ptrdiff_t(again));

  std::size_t agreed = 0;
  for (; agreed < std::min(words.size(), tail_.size()); ++agreed) {
    const std::string &now = words[agreed].text, &before = tail_[agreed].text;
    const bool is_last = agreed + 1 == words.size();
    if (is_last ? now != before : bare_word(now) != bare_word(before)) break;
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

void LocalAgreement::commit(LiveWord& word) {
  word.start = std::max(word.start, last_start_);
  word.end = std::max({word.end, word.start, committed_until_});
  last_start_ = word.start;
  committed_until_ = word.end;
  committed_.push_back({.text = bare_word(word.text), .start = word.start, .end = word.end});
}

std::optional<double> trim_point(std::span<const double> segment_ends, double committed_until) {
  std::optional<double> point;
  for (const double end : segment_ends) {
    if (end <= committed_until) point = end;
  }
  return point;
}

}  // namespace runnel::models::whisper
