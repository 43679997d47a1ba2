#include "models/moonshine/tokenizer_json.h"

#include <cstdio>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "models/config_json.h"
#include "models/unicode.h"

namespace runnel::models::moonshine {
namespace {

using nlohmann::json;

[[noreturn]] void fail(const std::string& label, const std::string& why) {
  throw std::runtime_error(label + ": " + why);
}

/// A piece in a line of an error message.
std::string shown(std::string_view text) {
  std::string line = "'";
  for (const char c : text.substr(0, 40)) {
    line += static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? '?' : c;
  }
  return replace_malformed(line) + (text.size() > 40 ? "…'" : "'");
}

/// The value of a key, or null.
const json& value_of(const json& object, const char* key) {
  static const json kNull;
  if (!object.is_object()) return kNull;
  const auto found = object.find(key);
  return found == object.end() ? kNull : *found;
}

/// What "type" says; empty if it says nothing.
std::string type_of(const json& object) {
  const json& type = value_of(object, "type");
  return type.is_string() ? type.get<std::string>() : std::string();
}

void expect_value(const json& object, const char* key, const json& expected, const std::string& in,
                  const std::string& label) {
  if (value_of(object, key) != expected) {
    fail_key(label, in + "." + key, expected.dump(), describe(value_of(object, key)));
  }
}

void expect_type(const json& object, const char* type, const std::string& in,
                 const std::string& label) {
  if (type_of(object) != type) {
    const json& found = value_of(object, "type");
    fail_key(label, in + ".type", std::string("\"") + type + "\"",
             found.is_null() ? describe(object) : describe(found));
  }
}

/// Prepend and Replace, alone or in a Sequence.
void read_normalizer(const json& root, Vocabulary& vocabulary, const std::string& label) {
  const json& normalizer = value_of(root, "normalizer");
  const json& parts = value_of(normalizer, "normalizers");
  const json steps =
      type_of(normalizer) == "Sequence" && parts.is_array() ? parts : json::array({normalizer});
  bool replaces = false;
  for (const json& step : steps) {
    if (type_of(step) == "Prepend" && !replaces && vocabulary.prepended.empty() &&
        value_of(step, "prepend") == kSpaceMark) {
      vocabulary.prepended = kSpaceMark;
    } else {
      expect_type(step, "Replace", "normalizer", label);
      expect_value(step, "pattern", json{{"String", " "}}, "normalizer", label);
      expect_value(step, "content", kSpaceMark, "normalizer", label);
      replaces = true;
    }
  }
  if (!replaces) fail_key(label, "normalizer", "a Replace of \" \"", "none");
}

void check_decoder(const json& root, Vocabulary& vocabulary, const std::string& label) {
  const json& decoder = value_of(root, "decoder");
  expect_type(decoder, "Sequence", "decoder", label);
  const json& steps = value_of(decoder, "decoders");
  if (!steps.is_array() || steps.size() < 3 || steps.size() > 4) {
    fail_key(label, "decoder.decoders", "Replace, ByteFallback, Fuse and Strip", describe(steps));
  }
  expect_type(steps[0], "Replace", "decoder", label);
  expect_value(steps[0], "pattern", json{{"String", kSpaceMark}}, "decoder", label);
  expect_value(steps[0], "content", " ", "decoder", label);
  expect_type(steps[1], "ByteFallback", "decoder", label);
  expect_type(steps[2], "Fuse", "decoder", label);
  if (steps.size() < 4) return;
  expect_type(steps[3], "Strip", "decoder", label);
  expect_value(steps[3], "content", " ", "decoder", label);
  expect_value(steps[3], "start", 1, "decoder", label);
  expect_value(steps[3], "stop", 0, "decoder", label);
  vocabulary.strips_space = true;
}

void add_piece(Vocabulary& vocabulary, const std::string& piece, const json& id,
               const std::string& label) {
  if (piece.empty()) fail(label, "expected pieces of some length, found an empty one");
  const int index = as_index(id, int(vocabulary.pieces.size()), "id of " + shown(piece), label);
  std::string& place = vocabulary.pieces[std::size_t(index)];
  if (place == piece) return;  // added tokens are often in the vocabulary too
  if (!place.empty()) {
    fail(label, "expected one token with id " + std::to_string(index) +
                    ", found two: " + shown(place) + " and " + shown(piece));
  }
  place = piece;
  const auto [found, is_new] = vocabulary.ids.emplace(piece, index);
  if (!is_new) {
    fail(label, "expected one id of " + shown(piece) + ", found two: " +
                    std::to_string(found->second) + " and " + std::to_string(index));
  }
}

void read_added(const json& root, Vocabulary& vocabulary, const std::string& label) {
  const json* added = list_of(root, "added_tokens", label);
  if (!added) return;
  for (const json& token : *added) {
    const json& content = value_of(token, "content");
    if (!content.is_string()) {
      fail_key(label, "added_tokens", "objects with 'id' and 'content'", describe(token));
    }
    const std::string text = content.get<std::string>();
    for (const char* flag : {"single_word", "lstrip", "rstrip"}) {
      if (value_of(token, flag) == true) {
        fail_key(label, "added_tokens." + std::string(flag) + " of " + shown(text), "false",
                 "true");
      }
    }
    add_piece(vocabulary, text, value_of(token, "id"), label);
    vocabulary.added.push_back({.text = text,
                                .id = vocabulary.ids.at(text),
                                .special = value_of(token, "special") == true,
                                .normalized = value_of(token, "normalized") == true});
  }
}

void read_bytes(Vocabulary& vocabulary, const std::string& label) {
  for (int byte = 0; byte < 256; ++byte) {
    char piece[8];
    std::snprintf(piece, sizeof piece, "<0x%02X>", byte);
    const auto found = vocabulary.ids.find(piece);
    if (found == vocabulary.ids.end()) {
      fail(label, std::string("expected a token for every byte, found none for ") + piece);
    }
    vocabulary.bytes.push_back(found->second);
  }
}

/// ["a", "b"], or "a b" in older files.
void read_merges(const json& model, Vocabulary& vocabulary, const std::string& label) {
  const json& merges = value_of(model, "merges");
  if (!merges.is_array()) fail_key(label, "model.merges", "a list", describe(merges));
  vocabulary.merges.reserve(merges.size());
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    const json& merge = merges[rank];
    std::string left, right;
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      left = merge[0].get<std::string>();
      right = merge[1].get<std::string>();
    } else if (merge.is_string()) {
      const std::string& line = merge.get_ref<const std::string&>();
      const std::size_t space = line.find(' ');
      if (space != std::string::npos && line.find(' ', space + 1) == std::string::npos) {
        left = line.substr(0, space);
        right = line.substr(space + 1);
      }
    }
    const auto id_of = [&](const std::string& piece) {
      const auto found = vocabulary.ids.find(piece);
      return found == vocabulary.ids.end() ? -1 : found->second;
    };
    const int a = id_of(left), b = id_of(right), both = id_of(left + right);
    if (a < 0 || b < 0 || both < 0) {
      fail(label, "merge " + std::to_string(rank) + ": expected two pieces that make a third, " +
                      "found " +
                      (left.empty() ? describe(merge) : shown(left) + " and " + shown(right)));
    }
    // Of a pair that is there twice the reference keeps the last.
    vocabulary.merges.insert_or_assign(pair_key(a, b), PairMerge{int(rank), both});
  }
}

}  // namespace

Vocabulary parse_tokenizer_json(std::string_view text, int vocab_size, const std::string& label) {
  const json root = parse_object(text, label);
  const json& model = value_of(root, "model");
  expect_type(model, "BPE", "model", label);
  expect_value(model, "byte_fallback", true, "model", label);
  for (const char* key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"}) {
    const json& value = value_of(model, key);
    if (!value.is_null() && value != "") {
      fail_key(label, "model." + std::string(key), "null", describe(value));
    }
  }
  if (!value_of(root, "pre_tokenizer").is_null()) {
    fail_key(label, "pre_tokenizer", "null", describe(value_of(root, "pre_tokenizer")));
  }
  const json& vocab = value_of(model, "vocab");
  if (!vocab.is_object()) {
    fail_key(label, "model.vocab", "an object of pieces and ids", describe(vocab));
  }
  Vocabulary vocabulary;
  vocabulary.ignore_merges = value_of(model, "ignore_merges") == true;
  vocabulary.pieces.resize(std::size_t(vocab_size));
  vocabulary.ids.reserve(vocab.size());
  for (const auto& [piece, id] : vocab.items()) add_piece(vocabulary, piece, id, label);
  read_added(root, vocabulary, label);
  for (std::size_t id = 0; id < vocabulary.pieces.size(); ++id) {
    if (vocabulary.pieces[id].empty()) {
      fail(label, "expected tokens 0 to " + std::to_string(vocab_size - 1) +
                      " for a vocab_size of " + std::to_string(vocab_size) +
                      ", found none with id " + std::to_string(id));
    }
  }
  read_bytes(vocabulary, label);
  read_merges(model, vocabulary, label);
  read_normalizer(root, vocabulary, label);
  check_decoder(root, vocabulary, label);
  return vocabulary;
}

std::string normalize(std::string_view prepended, std::string_view text) {
  if (text.empty()) return {};
  std::string normal(prepended);
  for (const char c : text) {
    if (c == ' ') {
      normal += kSpaceMark;
    } else {
      normal += c;
    }
  }
  return normal;
}

}  // namespace runnel::models::moonshine
