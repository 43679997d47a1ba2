#include "models/htdemucs/bag_file.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <map>
#include <stdexcept>

namespace runnel::models::htdemucs {
namespace {

constexpr int kMaxNesting = 3;  // a list of lists, and one to be told about

/// A scalar, or a list.
struct Node {
  std::string scalar;
  bool is_list = false;
  std::vector<Node> items;
  int line = 0;
};

std::string shown(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, 40)) {
    out += static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? '?' : c;
  }
  return "'" + out + "'";
}

class Parser {
 public:
  Parser(std::string_view text, const std::string& label) : text_(text), label_(label) {}

  std::map<std::string, Node> document() {
    std::map<std::string, Node> keys;
    next_token();
    if (column() == 0 && text_.substr(at_, 3) == "---") {
      at_ += 3;
      end_line();
      next_token();
    }
    while (at_ < text_.size()) {
      if (column() != 0) fail("a key at the start of the line");
      const std::string key = plain_scalar(":");
      if (key.empty() || peek() != ':') fail("KEY: VALUE");
      ++at_;
      const int line = line_;
      next_token();
      Node value;
      if (line_ == line) {
        value = flow(0);
        end_line();
      } else {
        value = block(0);
      }
      if (!keys.emplace(key, std::move(value)).second) fail_at(line, "each key once", shown(key));
      next_token();
    }
    return keys;
  }

  [[noreturn]] void fail_at(int line, const std::string& expected, const std::string& found) const {
    throw std::runtime_error(label_ + ": line " + std::to_string(line) + ": expected " + expected +
                             ", found " + found);
  }

 private:
  [[noreturn]] void fail(const std::string& expected) const {
    const std::string_view rest = text_.substr(at_);
    fail_at(line_, expected,
            rest.empty() ? "the end" : shown(rest.substr(0, rest.find_first_of("\r\n"))));
  }

  char peek(std::size_t ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\n';
  }

  int column() const { return int(at_ - line_start_); }

  /// Skips blanks, line ends and comments.
  void next_token() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '#' &&
          (at_ == line_start_ || std::isspace(static_cast<unsigned char>(text_[at_ - 1])))) {
        while (at_ < text_.size() && text_[at_] != '\n') ++at_;
      } else if (c == '\n') {
        line_start_ = ++at_;
        ++line_;
      } else if (c == ' ' || c == '\t' || c == '\r') {
        ++at_;
      } else {
        return;
      }
    }
  }

  /// Nothing but a comment may follow on the line.
  void end_line() {
    const int line = line_;
    next_token();
    if (at_ < text_.size() && line_ == line) fail("the end of the line");
  }

  std::string plain_scalar(std::string_view ends) {
    const std::size_t start = at_;
    while (at_ < text_.size() && text_[at_] != '\n' && text_[at_] != '\r' &&
           ends.find(text_[at_]) == std::string_view::npos &&
           !(text_[at_] == '#' && at_ > start && text_[at_ - 1] == ' ')) {
      ++at_;
    }
    std::string_view scalar = text_.substr(start, at_ - start);
    while (!scalar.empty() && (scalar.back() == ' ' || scalar.back() == '\t')) {
      scalar.remove_suffix(1);
    }
    return std::string(scalar);
  }

  bool at_dash() const {
    const char after = peek(1);
    return peek() == '-' && (after == ' ' || after == '\n' || after == '\r');
  }

  /// Lines of "- ITEM" in the column where the first stands.
  Node block(int depth) {
    if (!at_dash()) fail("a value or a list");
    if (depth >= kMaxNesting) fail("lists of lists at most");
    Node list{.scalar = {}, .is_list = true, .items = {}, .line = line_};
    const int indent = column();
    while (at_ < text_.size() && column() == indent && at_dash()) {
      const int line = line_;
      ++at_;
      next_token();
      if (line_ != line) fail_at(line, "an item after '-'", "the end of the line");
      if (at_dash()) {
        list.items.push_back(block(depth + 1));
      } else {
        list.items.push_back(flow(depth + 1));
        end_line();
      }
    }
    if (at_ < text_.size() && column() > indent) fail("an item in the column of the others");
    return list;
  }

  /// A scalar or [ITEM, ITEM], which may span lines.
  Node flow(int depth) {
    Node node{.scalar = {}, .is_list = false, .items = {}, .line = line_};
    const char c = peek();
    if (c == '\'' || c == '"') {
      const std::size_t end = text_.find_first_of(c == '"' ? "\"\\\n" : "'\n", at_ + 1);
      if (end == std::string_view::npos || text_[end] != c) fail("a string of plain characters");
      node.scalar = text_.substr(at_ + 1, end - at_ - 1);
      at_ = end + 1;
      return node;
    }
    if (c != '[') {
      if (std::string_view("{}&*!|>%@`],?").find(c) != std::string_view::npos) {
        fail("a scalar or a list");
      }
      node.scalar = plain_scalar(depth > 0 ? ",[]{}:" : "[]{}:");
      if (node.scalar.empty()) fail("a scalar or a list");
      return node;
    }
    if (depth >= kMaxNesting) fail("lists of lists at most");
    node.is_list = true;
    ++at_;
    for (next_token(); peek() != ']'; next_token()) {
      if (at_ >= text_.size()) fail("']'");
      node.items.push_back(flow(depth + 1));
      next_token();
      if (peek() == ',') {
        ++at_;
      } else if (peek() != ']') {
        fail("',' or ']'");
      }
    }
    ++at_;
    return node;
  }

  std::string_view text_;
  const std::string& label_;
  std::size_t at_ = 0, line_start_ = 0;
  int line_ = 1;
};

double number_of(const Node& node, const Parser& parser) {
  double number = 0;
  const char* const end = node.scalar.data() + node.scalar.size();
  const auto [at, error] = std::from_chars(node.scalar.data(), end, number);
  if (node.is_list || error != std::errc() || at != end || !std::isfinite(number) || number < 0) {
    parser.fail_at(node.line, "a number from 0 on", node.is_list ? "a list" : shown(node.scalar));
  }
  return number;
}

bool is_null(const Node& node) {
  return !node.is_list && (node.scalar == "null" || node.scalar == "~");
}

}  // namespace

BagFile parse_bag_file(std::string_view text, const std::string& label) {
  constexpr std::size_t kMaxModels = 64;
  Parser parser(text, label);
  BagFile bag;
  for (const auto& [key, value] : parser.document()) {
    const auto expect_list = [&](const Node& node, const char* of) {
      if (!node.is_list || node.items.empty() || node.items.size() > kMaxModels) {
        parser.fail_at(node.line, "a list of 1 to " + std::to_string(kMaxModels) + " " + of,
                       node.is_list ? std::to_string(node.items.size()) : shown(node.scalar));
      }
    };
    if (key == "models") {
      expect_list(value, "models");
      for (const Node& model : value.items) {
        const auto is_plain = [](unsigned char c) { return std::isalnum(c) || c == '_'; };
        if (model.is_list || model.scalar.empty() || model.scalar.size() > 64 ||
            !std::all_of(model.scalar.begin(), model.scalar.end(), is_plain)) {
          parser.fail_at(model.line, "a model's signature (letters and digits)",
                         model.is_list ? "a list" : shown(model.scalar));
        }
        bag.signatures.push_back(model.scalar);
      }
    } else if (key == "weights") {
      if (is_null(value)) continue;
      expect_list(value, "lists of weights");
      for (const Node& row : value.items) {
        expect_list(row, "weights");
        bag.weights.emplace_back();
        for (const Node& weight : row.items)
          bag.weights.back().push_back(number_of(weight, parser));
      }
    } else if (key == "segment") {
      if (!is_null(value)) number_of(value, parser);
    } else {
      parser.fail_at(value.line, "the keys models, weights and segment", shown(key));
    }
  }
  if (bag.signatures.empty()) parser.fail_at(1, "the key models", "none");
  if (!bag.weights.empty() && bag.weights.size() != bag.signatures.size()) {
    throw std::runtime_error(label + ": expected weights of " +
                             std::to_string(bag.signatures.size()) + " models, found " +
                             std::to_string(bag.weights.size()));
  }
  return bag;
}

}  // namespace runnel::models::htdemucs
