#include "models/moonshine/hotwords.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <fstream>
#include <map>
#include <set>
#include <stdexcept>

#include "models/unicode.h"

namespace runnel::models::moonshine {
namespace {

constexpr int kSpaced = 0, kInside = 1;  // roots
constexpr float kMaxWeight = 10;

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
char lower(char c) { return c >= 'A' && c <= 'Z' ? char(c + ('a' - 'A')) : c; }
char upper(char c) { return c >= 'a' && c <= 'z' ? char(c - ('a' - 'A')) : c; }

/// Without white space around it, and single spaces inside.
std::string tidy(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool space = c == ' ' || c == '\t' || c == '\r' || c == '\n';
    if (!space) {
      out += c;
    } else if (!out.empty() && out.back() != ' ') {
      out += ' ';
    }
  }
  if (out.ends_with(' ')) out.pop_back();
  return out;
}

/// ASCII alone changes its case.
std::set<std::string> case_variants(const std::string& phrase) {
  std::string small = phrase, large = phrase, initial = phrase, initials;
  for (char& c : small) c = lower(c);
  for (char& c : large) c = upper(c);
  if (!initial.empty()) initial[0] = upper(initial[0]);
  initials = small;
  for (std::size_t i = 0; i < initials.size(); ++i) {
    if (i == 0 || initials[i - 1] == ' ') initials[i] = upper(initials[i]);
  }
  return {phrase, small, large, initial, initials};
}

std::string shown(const std::string& phrase) {
  return "'" + replace_malformed(phrase.substr(0, 40)) + (phrase.size() > 40 ? "…'" : "'");
}

}  // namespace

Hotwords::Hotwords(std::span<const Hotword> phrases, const Tokenizer& tokenizer,
                   const HotwordOptions& options)
    : options_(options) {
  struct Growing {
    std::map<int, int> edges;
    float weight = 0;
  };
  std::vector<Growing> tree(2);
  for (const Hotword& hotword : phrases) {
    const std::string phrase = tidy(hotword.phrase);
    if (phrase.empty()) {
      throw std::invalid_argument("hotword: expected a phrase, found an empty one");
    }
    if (!(hotword.weight > 0 && hotword.weight <= kMaxWeight)) {
      throw std::invalid_argument("hotword " + shown(phrase) + ": expected a weight in (0, 10], " +
                                  "found " + std::to_string(hotword.weight));
    }
    for (const std::string& variant : case_variants(phrase)) {
      for (const int root : {kSpaced, kInside}) {
        const std::vector<int> tokens =
            root == kSpaced ? tokenizer.encode(variant) : tokenizer.encode_inside(variant);
        if (int(tokens.size()) > kMaxTokens) {
          throw std::invalid_argument("hotword " + shown(phrase) + ": expected at most " +
                                      std::to_string(kMaxTokens) + " tokens, found " +
                                      std::to_string(tokens.size()));
        }
        longest_ = std::max(longest_, int(tokens.size()));
        int node = root;
        for (const int token : tokens) {
          const auto [edge, is_new] = tree[std::size_t(node)].edges.emplace(token, 0);
          if (is_new) {
            edge->second = int(tree.size());
            tree.emplace_back();  // `edge` stays: a map's nodes don't move
          }
          node = tree[std::size_t(node)].edges.at(token);
          float& weight = tree[std::size_t(node)].weight;
          weight = std::max(weight, hotword.weight);
        }
      }
    }
  }
  for (const Growing& growing : tree) {
    nodes_.push_back({.first = int(edges_.size()),
                      .edges = int(growing.edges.size()),
                      .weight = growing.weight});
    for (const auto& [token, node] : growing.edges) edges_.push_back({token, node});
  }
  ends_word_.resize(std::size_t(tokenizer.vocab_size()));
  for (int token = 0; token < tokenizer.vocab_size(); ++token) {
    const std::string_view bytes = tokenizer.bytes_of(token);
    const char last = bytes.empty() ? 'a' : bytes.back();
    ends_word_[std::size_t(token)] = !is_letter(last) && !(last >= '0' && last <= '9') &&
                                     last != '\'' && static_cast<unsigned char>(last) < 0x80;
  }
}

std::vector<Hotword> Hotwords::read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path.string() + ": cannot be read");
  std::vector<Hotword> hotwords;
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    const auto fail = [&](const std::string& why) {
      throw std::runtime_error(path.string() + ", line " + std::to_string(number) + ": " + why);
    };
    if (number == 1 && line.starts_with("\xEF\xBB\xBF")) line.erase(0, 3);
    if (line.ends_with('\r')) line.pop_back();
    for (std::size_t i = 0; i < line.size();) {
      const Utf8Char c = utf8_at(line, i);
      if (!c.valid) fail("expected UTF-8, found other bytes");
      i += c.bytes;
    }
    const std::size_t tab = line.find('\t');
    Hotword hotword{.phrase = tidy(line.substr(0, tab))};
    const std::string weight = tab == std::string::npos ? "" : tidy(line.substr(tab + 1));
    if (hotword.phrase.empty() && weight.empty()) continue;
    if (hotword.phrase.empty()) fail("expected a phrase before the weight, found none");
    if (!weight.empty()) {
      const auto read =
          std::from_chars(weight.data(), weight.data() + weight.size(), hotword.weight);
      if (read.ec != std::errc() || read.ptr != weight.data() + weight.size() ||
          !(hotword.weight > 0 && hotword.weight <= kMaxWeight)) {
        fail("expected a weight in (0, 10], found " + shown(weight));
      }
    }
    hotwords.push_back(std::move(hotword));
  }
  if (file.bad()) throw std::runtime_error(path.string() + ": cannot be read");
  return hotwords;
}

const Hotwords::Edge* Hotwords::find(int node, int token) const noexcept {
  const Edge* begin = edges_.data() + nodes_[std::size_t(node)].first;
  const Edge* end = begin + nodes_[std::size_t(node)].edges;
  const Edge* found =
      std::lower_bound(begin, end, token, [](const Edge& e, int t) { return e.token < t; });
  return found != end && found->token == token ? found : nullptr;
}

int Hotwords::follow(int root, std::span<const int> tokens) const noexcept {
  int node = root;
  for (const int token : tokens) {
    const Edge* edge = find(node, token);
    if (!edge) return -1;
    node = edge->node;
  }
  return node;
}

void Hotwords::apply(std::span<const int> tokens, std::span<float> logits) const noexcept {
  if (edges_.empty() || logits.empty()) return;
  const int n = int(tokens.size());
  const float least = *std::max_element(logits.begin(), logits.end()) - options_.evidence;
  // The phrases that the tokens end in the middle of, longest beginning first; then the roots.
  struct Place {
    int node, depth;
  };
  std::array<Place, 2 * (kMaxTokens + 1)> places;
  int count = 0;
  for (int start = std::max(0, n - longest_); start <= n; ++start) {
    const std::span<const int> said = tokens.subspan(std::size_t(start));
    for (const int root : {kSpaced, kInside}) {
      const int before = start > 0 ? tokens[std::size_t(start) - 1] : -1;
      if (root == kInside && before >= 0 && !ends_word_[std::size_t(before)]) continue;
      const int node = follow(root, said);
      if (node >= 0) places[std::size_t(count++)] = {node, n - start};
    }
  }
  for (int p = 0; p < count; ++p) {
    const auto [node, depth] = places[std::size_t(p)];
    const float share = depth == 0 ? 0.5f : std::min(1.0f + 0.25f * float(depth - 1), 2.0f);
    const Edge* begin = edges_.data() + nodes_[std::size_t(node)].first;
    for (const Edge* e = begin; e < begin + nodes_[std::size_t(node)].edges; ++e) {
      float& logit = logits[std::size_t(e->token)];
      if (!(logit >= least)) continue;
      // A longer beginning has given its boost already.
      const bool given = std::any_of(places.begin(), places.begin() + p, [&](const Place& place) {
        return find(place.node, e->token) != nullptr;
      });
      if (!given) logit += options_.boost * share * nodes_[std::size_t(e->node)].weight;
    }
  }
}

}  // namespace runnel::models::moonshine
