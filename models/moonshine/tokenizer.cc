#include "models/moonshine/tokenizer.h"

#include <algorithm>
#include <cstdio>
#include <stdexcept>

#include "models/config_json.h"
#include "models/moonshine/tokenizer_json.h"
#include "models/unicode.h"

namespace runnel::models::moonshine {
namespace {

/// Of a piece: its marks as spaces.
std::string with_spaces(std::string_view piece) {
  std::string text;
  for (std::size_t i = 0; i < piece.size();) {
    if (piece.substr(i).starts_with(kSpaceMark)) {
      text += ' ';
      i += kSpaceMark.size();
    } else {
      text += piece[i++];
    }
  }
  return text;
}

}  // namespace

struct Tokenizer::Impl {
  explicit Impl(Vocabulary&& read);

  std::vector<int> encode(std::string_view text, std::string_view prepended) const;
  void encode_pieces(std::string_view normal, std::vector<int>& ids) const;
  /// Cuts `text` at added tokens: `found` gets their ids, `between` the text around them.
  template <class Between>
  void split_at_added(std::string_view text, bool normalized, std::vector<int>& ids,
                      const Between& between) const;

  Vocabulary vocabulary;
  std::vector<AddedToken> added;    // their texts as they are looked for
  std::vector<std::string> bytes;   // by id: what the token adds
  std::vector<bool> special, byte;  // by id
};

Tokenizer::Impl::Impl(Vocabulary&& read) : vocabulary(std::move(read)) {
  const std::size_t size = vocabulary.pieces.size();
  special.resize(size);
  byte.resize(size);
  for (const std::string& piece : vocabulary.pieces) bytes.push_back(with_spaces(piece));
  for (int b = 0; b < 256; ++b) {
    const auto id = std::size_t(vocabulary.bytes[std::size_t(b)]);
    bytes[id] = std::string(1, char(b));
    byte[id] = true;
  }
  for (const AddedToken& token : vocabulary.added) {
    if (token.special) {
      special[std::size_t(token.id)] = true;
      bytes[std::size_t(token.id)].clear();
    }
    added.push_back(token);
    if (token.normalized) added.back().text = normalize(vocabulary.prepended, token.text);
  }
  // Of those that begin at the same place the longest is found.
  std::stable_sort(added.begin(), added.end(), [](const AddedToken& a, const AddedToken& b) {
    return a.text.size() > b.text.size();
  });
}

Tokenizer::Tokenizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

Tokenizer Tokenizer::from_folder(const std::filesystem::path& folder, int vocab_size) {
  const auto path = folder / "tokenizer.json";
  if (!is_there(path)) throw std::runtime_error(path.string() + ": expected a file, found none");
  return from_json(read_config_text(path, kMostVocabularyBytes), vocab_size, path.string());
}

Tokenizer Tokenizer::from_json(std::string_view text, int vocab_size, const std::string& label) {
  return Tokenizer(std::make_shared<const Impl>(parse_tokenizer_json(text, vocab_size, label)));
}

Tokenizer Tokenizer::made_up(int vocab_size) {
  Vocabulary v;
  for (const char* name : {"<unk>", "<s>", "</s>"}) {
    v.added.push_back({.text = name, .id = int(v.pieces.size()), .special = true});
    v.pieces.emplace_back(name);
  }
  for (int byte = 0; byte < 256; ++byte) {
    char piece[8];
    std::snprintf(piece, sizeof piece, "<0x%02X>", byte);
    v.bytes.push_back(int(v.pieces.size()));
    v.pieces.emplace_back(piece);
  }
  v.pieces.emplace_back(kSpaceMark);
  if (vocab_size < int(v.pieces.size())) {
    throw std::runtime_error("made-up vocabulary: expected " + std::to_string(v.pieces.size()) +
                             " tokens or more, found " + std::to_string(vocab_size));
  }
  while (int(v.pieces.size()) < vocab_size) {
    v.pieces.push_back(std::string(kSpaceMark) + "<" + std::to_string(v.pieces.size()) + ">");
  }
  for (std::size_t id = 0; id < v.pieces.size(); ++id) v.ids.emplace(v.pieces[id], int(id));
  v.prepended = kSpaceMark;
  v.strips_space = true;
  return Tokenizer(std::make_shared<const Impl>(std::move(v)));
}

int Tokenizer::vocab_size() const noexcept { return int(impl_->bytes.size()); }

bool Tokenizer::is_special(int token) const noexcept {
  return token < 0 || token >= vocab_size() || impl_->special[std::size_t(token)];
}

bool Tokenizer::begins_word(int token) const noexcept {
  return !is_special(token) && !impl_->byte[std::size_t(token)] &&
         impl_->vocabulary.pieces[std::size_t(token)].starts_with(kSpaceMark);
}

std::string_view Tokenizer::bytes_of(int token) const noexcept {
  return is_special(token) ? std::string_view() : impl_->bytes[std::size_t(token)];
}

template <class Between>
void Tokenizer::Impl::split_at_added(std::string_view text, bool normalized, std::vector<int>& ids,
                                     const Between& between) const {
  std::size_t begin = 0;  // of what is not yet handed on
  for (std::size_t i = 0; i < text.size();) {
    const auto found = std::find_if(added.begin(), added.end(), [&](const AddedToken& token) {
      return token.normalized == normalized && text.substr(i).starts_with(token.text);
    });
    if (found == added.end()) {
      ++i;
      continue;
    }
    if (i > begin) between(text.substr(begin, i - begin));
    ids.push_back(found->id);
    i += found->text.size();
    begin = i;
  }
  if (begin < text.size()) between(text.substr(begin));
}

void Tokenizer::Impl::encode_pieces(std::string_view normal, std::vector<int>& ids) const {
  const Vocabulary& v = vocabulary;
  if (v.ignore_merges) {
    if (const auto whole = v.ids.find(std::string(normal)); whole != v.ids.end()) {
      ids.push_back(whole->second);
      return;
    }
  }
  std::vector<int> symbols;
  for (std::size_t i = 0; i < normal.size();) {
    const Utf8Char c = utf8_at(normal, i);
    const std::string_view character = normal.substr(i, c.bytes);
    i += c.bytes;
    if (const auto found = v.ids.find(std::string(character)); found != v.ids.end()) {
      symbols.push_back(found->second);
      continue;
    }
    for (const char b : character) {
      symbols.push_back(v.bytes[std::size_t(static_cast<unsigned char>(b))]);
    }
  }
  merge_pairs(symbols, [&](int left, int right) {
    const auto found = v.merges.find(pair_key(left, right));
    return found == v.merges.end() ? PairMerge{} : found->second;
  });
  ids.insert(ids.end(), symbols.begin(), symbols.end());
}

std::vector<int> Tokenizer::Impl::encode(std::string_view text, std::string_view prepended) const {
  std::vector<int> ids;
  split_at_added(text, false, ids, [&](std::string_view part) {
    const std::string normal = normalize(prepended, part);
    split_at_added(normal, true, ids, [&](std::string_view rest) { encode_pieces(rest, ids); });
  });
  return ids;
}

std::vector<int> Tokenizer::encode(std::string_view text) const {
  return impl_->encode(text, impl_->vocabulary.prepended);
}

std::vector<int> Tokenizer::encode_inside(std::string_view text) const {
  return impl_->encode(text, {});
}

std::string Tokenizer::decode(std::span<const int> tokens) const {
  std::string text, run;  // of byte tokens that follow each other
  const auto end_run = [&] {
    // As the reference has it: whole if it is UTF-8, else a replacement for each byte.
    std::size_t at = 0;
    bool valid = true;
    while (at < run.size() && valid) {
      const Utf8Char c = utf8_at(run, at);
      valid = c.valid;
      at += c.bytes;
    }
    if (valid) {
      text += run;
    } else {
      for (std::size_t i = 0; i < run.size(); ++i) append_utf8(text, kReplacement);
    }
    run.clear();
  };
  for (const int token : tokens) {
    if (is_special(token)) continue;
    if (impl_->byte[std::size_t(token)]) {
      run += bytes_of(token);
    } else {
      end_run();
      text += bytes_of(token);
    }
  }
  end_run();
  if (impl_->vocabulary.strips_space && text.starts_with(' ')) text.erase(0, 1);
  return text;
}

}  // namespace runnel::models::moonshine
