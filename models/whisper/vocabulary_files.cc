#include "models/whisper/vocabulary_files.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <unordered_map>

#include "models/unicode.h"

namespace runnel::models::whisper {
namespace {

using nlohmann::json;

/// What a file says, in a line of an error message.
std::string excerpt(std::string_view text) {
  std::string line = "'";
  for (char c : text.substr(0, 40)) {
    line += static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? '?' : c;
  }
  return replace_malformed(line) + (text.size() > 40 ? "…'" : "'");
}

std::string shown(const json& value) {
  if (value.is_string()) return excerpt(value.get_ref<const std::string&>());
  // Not dump(): a value may be as long, and as deep, as the file.
  if (value.is_number_integer() || value.is_boolean()) return value.dump();
  return "a value of type " + std::string(value.type_name());
}

[[noreturn]] void fail(const std::string& label, const std::string& why) {
  throw std::runtime_error(label + ": " + why);
}

/// Byte of a character in a file's tokens. Printable Latin-1 stands for itself, the other bytes, in
/// order, for U+0100 and on (GPT-2's mapping).
std::array<int, 0x144> make_byte_of_char() {
  std::array<int, 0x144> byte_of{};
  byte_of.fill(-1);
  int next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable =
        (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    byte_of[printable ? byte : next++] = byte;
  }
  return byte_of;
}

/// Bytes of a token as it is written; nothing if a character stands for no byte.
std::optional<std::string> token_bytes(std::string_view written) {
  static const auto kByteOf = make_byte_of_char();
  std::string bytes;
  for (std::size_t i = 0; i < written.size();) {
    const Utf8Char c = utf8_at(written, i);
    if (c.code >= kByteOf.size() || kByteOf[c.code] < 0) return std::nullopt;
    bytes += static_cast<char>(kByteOf[c.code]);
    i += c.bytes;
  }
  return bytes;
}

/// Collects a vocabulary, checked against the layout.
class Builder {
 public:
  Builder(const SpecialLayout& layout, const std::string& label)
      : layout_(layout), label_(label), found_(layout.text_tokens()) {
    vocabulary_.tokens.resize(layout.text_tokens());
    for (int token = layout.ids.end_of_text; token <= layout.ids.first_timestamp; ++token) {
      specials_.emplace(special_name(layout, token), token);
    }
    specials_.emplace("<|nocaptions|>", layout.ids.no_speech);
  }

  void add_vocab(const json& vocab, const char* what) {
    if (!vocab.is_object()) {
      fail(label_,
           std::string(what) + ": expected an object of tokens and ids, found " + shown(vocab));
    }
    for (const auto& [name, id] : vocab.items()) add(name, id);
    expect_all();
  }

  void add_list(const std::vector<std::string>& names) {
    for (std::size_t id = 0; id < names.size(); ++id) add(names[id], id);
    expect_all();
  }

  /// A special token, or one that the model has no use for.
  void add_added(const std::string& label, const std::string& name, const json& id) {
    const int found = checked_id(label, name, id);
    check_special(label, name, found);
  }

  /// Both as they are written in the file.
  void add_merge(const std::string& label, std::string_view left, std::string_view right) {
    const int left_id = id_of(left), right_id = id_of(right);
    if (left_id < 0 || right_id < 0) {
      fail(label, "merge " + std::to_string(vocabulary_.merges.size()) +
                      ": expected a token of the vocabulary, found " +
                      excerpt(left_id < 0 ? left : right));
    }
    vocabulary_.merges.emplace_back(left_id, right_id);
  }

  Vocabulary take() {
    vocabulary_.layout = layout_;
    return std::move(vocabulary_);
  }

 private:
  void expect_all() {
    for (int id = 0; id < layout_.required_tokens; ++id) {
      if (!found_[id]) {
        fail(label_, "expected tokens 0 to " + std::to_string(layout_.required_tokens - 1) +
                         " for a vocabulary of " + std::to_string(layout_.vocab_size) +
                         ", found none with id " + std::to_string(id));
      }
    }
    ids_.reserve(vocabulary_.tokens.size());
    for (std::size_t id = 0; id < vocabulary_.tokens.size(); ++id) {
      ids_.emplace(vocabulary_.tokens[id], static_cast<int>(id));
    }
  }

  int checked_id(const std::string& label, const std::string& name, const json& id) const {
    if (!id.is_number_unsigned() ||
        id.get<std::uint64_t>() >= static_cast<std::uint64_t>(layout_.tokens_in_file)) {
      fail(label, "token " + excerpt(name) + ": expected an id below " +
                      std::to_string(layout_.tokens_in_file) + ", found " + shown(id));
    }
    return id.get<int>();
  }

  /// Whether it is one; its id tells another vocabulary from ours.
  bool check_special(const std::string& label, const std::string& name, int id) const {
    if (!name.starts_with("<|")) return false;
    const auto special = specials_.find(name);
    if (special == specials_.end()) return false;
    if (special->second != id) {
      fail(label, "token '" + name + "': expected id " + std::to_string(special->second) +
                      " in a vocabulary of " + std::to_string(layout_.vocab_size) + ", found " +
                      std::to_string(id));
    }
    return true;
  }

  void add(const std::string& name, const json& id_value) {
    const int id = checked_id(label_, name, id_value);
    if (check_special(label_, name, id) || id >= layout_.text_tokens()) return;
    auto bytes = token_bytes(name);
    if (!bytes) {
      fail(label_, "token " + excerpt(name) + " with id " + std::to_string(id) +
                       ": expected characters of a byte-level vocabulary");
    }
    if (found_[id]) {
      fail(label_, "expected one token with id " + std::to_string(id) +
                       ", found two: " + excerpt(name) + " is the second");
    }
    found_[id] = true;
    vocabulary_.tokens[id] = std::move(*bytes);
  }

  int id_of(std::string_view written) const {
    const auto bytes = token_bytes(written);
    if (!bytes || bytes->empty()) return -1;
    const auto found = ids_.find(*bytes);
    return found == ids_.end() ? -1 : found->second;
  }

  const SpecialLayout layout_;
  std::string label_;
  std::vector<bool> found_;
  Vocabulary vocabulary_;
  std::unordered_map<std::string, int> specials_;
  std::unordered_map<std::string_view, int> ids_;  // keys lie in vocabulary_.tokens
};

json parse_object(const LabelledText& file) {
  json value = json::parse(file.text, nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded()) {
    fail(file.label, "expected JSON, found " + std::to_string(file.text.size()) +
                         " bytes that are not (truncated?)");
  }
  if (!value.is_object()) fail(file.label, "expected a JSON object, found " + shown(value));
  return value;
}

/// "a b": tokens are written without spaces.
void add_written_merge(Builder& builder, const std::string& label, std::string_view line) {
  const std::size_t space = line.find(' ');
  if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos) {
    fail(label, "expected a merge of two tokens with a space between, found " + excerpt(line));
  }
  builder.add_merge(label, line.substr(0, space), line.substr(space + 1));
}

/// What layout_of() looks for, in any of a file's lists of tokens.
class LayoutClues {
 public:
  void see(const std::string& name, const json& id) {
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() > kHighest) return;
    last_id_ = std::max(last_id_, id.get<int>());
    if (name == "<|notimestamps|>") no_timestamps_ = id.get<int>();
  }
  void see_all(const json& vocab) {
    if (!vocab.is_object()) return;
    for (const auto& [name, id] : vocab.items()) see(name, id);
  }
  SpecialLayout layout(const ChooseLayout& choose) const {
    return choose(no_timestamps_, last_id_);
  }

 private:
  static constexpr std::uint64_t kHighest = 1 << 20;
  int no_timestamps_ = -1, last_id_ = -1;
};

/// Nothing for what is no base64. Some files have "=" alone for the empty string.
std::optional<std::string> from_base64(std::string_view text) {
  while (text.ends_with('=')) text.remove_suffix(1);
  std::string bytes;
  unsigned bits = 0;
  int count = 0;
  for (const char c : text) {
    constexpr std::string_view kDigits =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const std::size_t digit = kDigits.find(c);
    if (digit == kDigits.npos) return std::nullopt;
    bits = (bits << 6 | unsigned(digit)) & 0xFFFF;
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes += static_cast<char>(bits >> count & 0xFF);
  }
  return bytes;
}

}  // namespace

std::vector<std::string> parse_tiktoken(const LabelledText& file) {
  std::vector<std::string> tokens;
  std::string_view rest = file.text;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    const std::size_t space = std::min(line.find(' '), line.size());
    auto bytes = from_base64(line.substr(0, space));
    if (!bytes || line.substr(space) != " " + std::to_string(tokens.size())) {
      fail(file.label, "expected a token in base64 and its id, " + std::to_string(tokens.size()) +
                           ", found " + excerpt(line));
    }
    tokens.push_back(std::move(*bytes));
  }
  return tokens;
}

Vocabulary parse_vocabulary_list(const LabelledText& file, const ChooseLayout& choose) {
  constexpr std::size_t kMost = 1 << 20;  // tokens
  std::vector<std::string> names;
  if (file.label.ends_with(".json")) {
    const json list = json::parse(file.text, nullptr, /*allow_exceptions=*/false);
    if (!list.is_array()) {
      fail(file.label, "expected a JSON list of tokens, found " +
                           (list.is_discarded() ? "none (truncated?)" : shown(list)));
    }
    for (const json& name : list) {
      if (!name.is_string()) {
        fail(file.label,
             "token " + std::to_string(names.size()) + ": expected a string, found " + shown(name));
      }
      names.push_back(name.get<std::string>());
    }
  } else {
    std::string_view rest = file.text;
    while (!rest.empty() && names.size() <= kMost) {
      const std::size_t end = std::min(rest.find('\n'), rest.size());
      std::string_view line = rest.substr(0, end);
      rest.remove_prefix(std::min(end + 1, rest.size()));
      if (line.ends_with('\r')) line.remove_suffix(1);
      names.emplace_back(line);
    }
  }
  if (names.size() > kMost) {
    fail(file.label, "expected at most " + std::to_string(kMost) + " tokens, found more");
  }
  LayoutClues clues;
  for (std::size_t id = 0; id < names.size(); ++id) clues.see(names[id], id);
  Builder builder(clues.layout(choose), file.label);
  builder.add_list(names);
  return builder.take();
}

Vocabulary parse_tokenizer_json(const LabelledText& file, const ChooseLayout& choose) {
  const json root = parse_object(file);
  const std::string& label = file.label;
  const auto model = root.find("model");
  if (model == root.end() || !model->is_object() || !model->contains("vocab") ||
      !model->contains("merges")) {
    fail(label, "expected a 'model' with 'vocab' and 'merges', found none");
  }
  if (const auto type = model->find("type"); type != model->end() && *type != "BPE") {
    fail(label, "model.type: expected 'BPE', found " + shown(*type));
  }
  const auto added = root.find("added_tokens");
  LayoutClues clues;
  clues.see_all((*model)["vocab"]);
  if (added != root.end() && added->is_array()) {
    for (const json& token : *added) {
      if (token.is_object() && token.contains("content") && token["content"].is_string()) {
        clues.see(token["content"].get<std::string>(), token.value("id", json()));
      }
    }
  }
  const SpecialLayout layout = clues.layout(choose);
  Builder builder(layout, label);
  if (added != root.end()) {
    if (!added->is_array()) fail(label, "added_tokens: expected a list, found " + shown(*added));
    for (const json& token : *added) {
      if (!token.is_object() || !token.contains("id") || !token.contains("content") ||
          !token["content"].is_string()) {
        fail(label, "added_tokens: expected objects with 'id' and 'content', found others");
      }
      builder.add_added(label, token["content"].get<std::string>(), token["id"]);
    }
  }
  builder.add_vocab((*model)["vocab"], "model.vocab");
  const json& merges = (*model)["merges"];
  if (!merges.is_array()) fail(label, "model.merges: expected a list, found " + shown(merges));
  for (const json& merge : merges) {
    if (merge.is_string()) {
      add_written_merge(builder, label, merge.get_ref<const std::string&>());
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
               merge[1].is_string()) {
      builder.add_merge(label, merge[0].get_ref<const std::string&>(),
                        merge[1].get_ref<const std::string&>());
    } else {
      fail(label, "model.merges: expected \"a b\" or [\"a\", \"b\"], found " + shown(merge));
    }
  }
  return builder.take();
}

Vocabulary parse_vocab_and_merges(const LabelledText& vocab, const LabelledText& merges,
                                  const LabelledText& added, const ChooseLayout& choose) {
  const json written = parse_object(vocab);
  const json tokens = added.text.empty() ? json::object() : parse_object(added);
  LayoutClues clues;
  clues.see_all(written);
  clues.see_all(tokens);
  const SpecialLayout layout = clues.layout(choose);
  Builder builder(layout, vocab.label);
  if (!added.text.empty()) {
    for (const auto& [name, id] : tokens.items()) builder.add_added(added.label, name, id);
  }
  builder.add_vocab(written, "vocabulary");
  std::string_view rest = merges.text;
  for (bool first = true; !rest.empty(); first = false) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || (first && line.starts_with("#version"))) continue;
    add_written_merge(builder, merges.label, line);
  }
  return builder.take();
}

}  // namespace runnel::models::whisper
