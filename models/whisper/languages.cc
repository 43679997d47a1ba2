#include <algorithm>
#include <array>
#include <numeric>
#include <stdexcept>
#include <string>

#include "models/whisper/tokenizer.h"

namespace runnel::models::whisper {
namespace {

using Pair = std::pair<std::string_view, std::string_view>;

// In the order of their tokens.
constexpr std::array kLanguages = std::to_array<Pair>({
    {"en", "english"},        {"zh", "chinese"},     {"de", "german"},        {"es", "spanish"},
    {"ru", "russian"},        {"ko", "korean"},      {"fr", "french"},        {"ja", "japanese"},
    {"pt", "portuguese"},     {"tr", "turkish"},     {"pl", "polish"},        {"ca", "catalan"},
    {"nl", "dutch"},          {"ar", "arabic"},      {"sv", "swedish"},       {"it", "italian"},
    {"id", "indonesian"},     {"hi", "hindi"},       {"fi", "finnish"},       {"vi", "vietnamese"},
    {"he", "hebrew"},         {"uk", "ukrainian"},   {"el", "greek"},         {"ms", "malay"},
    {"cs", "czech"},          {"ro", "romanian"},    {"da", "danish"},        {"hu", "hungarian"},
    {"ta", "tamil"},          {"no", "norwegian"},   {"th", "thai"},          {"ur", "urdu"},
    {"hr", "croatian"},       {"bg", "bulgarian"},   {"lt", "lithuanian"},    {"la", "latin"},
    {"mi", "maori"},          {"ml", "malayalam"},   {"cy", "welsh"},         {"sk", "slovak"},
    {"te", "telugu"},         {"fa", "persian"},     {"lv", "latvian"},       {"bn", "bengali"},
    {"sr", "serbian"},        {"az", "azerbaijani"}, {"sl", "slovenian"},     {"kn", "kannada"},
    {"et", "estonian"},       {"mk", "macedonian"},  {"br", "breton"},        {"eu", "basque"},
    {"is", "icelandic"},      {"hy", "armenian"},    {"ne", "nepali"},        {"mn", "mongolian"},
    {"bs", "bosnian"},        {"kk", "kazakh"},      {"sq", "albanian"},      {"sw", "swahili"},
    {"gl", "galician"},       {"mr", "marathi"},     {"pa", "punjabi"},       {"si", "sinhala"},
    {"km", "khmer"},          {"sn", "shona"},       {"yo", "yoruba"},        {"so", "somali"},
    {"af", "afrikaans"},      {"oc", "occitan"},     {"ka", "georgian"},      {"be", "belarusian"},
    {"tg", "tajik"},          {"sd", "sindhi"},      {"gu", "gujarati"},      {"am", "amharic"},
    {"yi", "yiddish"},        {"lo", "lao"},         {"uz", "uzbek"},         {"fo", "faroese"},
    {"ht", "haitian creole"}, {"ps", "pashto"},      {"tk", "turkmen"},       {"nn", "nynorsk"},
    {"mt", "maltese"},        {"sa", "sanskrit"},    {"lb", "luxembourgish"}, {"my", "myanmar"},
    {"bo", "tibetan"},        {"tl", "tagalog"},     {"mg", "malagasy"},      {"as", "assamese"},
    {"tt", "tatar"},          {"haw", "hawaiian"},   {"ln", "lingala"},       {"ha", "hausa"},
    {"ba", "bashkir"},        {"jw", "javanese"},    {"su", "sundanese"},     {"yue", "cantonese"},
});

constexpr std::array kAliases = std::to_array<Pair>({
    {"my", "burmese"},
    {"ca", "valencian"},
    {"nl", "flemish"},
    {"ht", "haitian"},
    {"lb", "letzeburgesch"},
    {"ps", "pushto"},
    {"pa", "panjabi"},
    {"ro", "moldavian"},
    {"ro", "moldovan"},
    {"si", "sinhalese"},
    {"es", "castilian"},
    {"zh", "mandarin"},
});

/// Letters to insert, delete or replace.
int edit_distance(std::string_view a, std::string_view b) {
  std::vector<int> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (std::size_t i = 0; i < a.size(); ++i) {
    int diagonal = row[0]++;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const int change = diagonal + (a[i] != b[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({change, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::span<const Pair> languages() { return kLanguages; }

std::string_view language_code(std::string_view code_or_name) {
  std::string wanted(code_or_name);
  for (char& c : wanted) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  for (const auto& [code, name] : kLanguages) {
    if (wanted == code || wanted == name) return code;
  }
  for (const auto& [code, name] : kAliases) {
    if (wanted == name) return code;
  }
  std::string near;
  if (wanted.size() >= 2 && wanted.size() <= 32) {
    const int allowed = wanted.size() <= 3 ? 1 : 3;
    int best = allowed + 1;
    const auto consider = [&](const Pair& language) {
      const int distance =
          edit_distance(wanted, wanted.size() <= 3 ? language.first : language.second);
      if (distance > best || distance > allowed) return;
      if (distance < best) near.clear();
      best = distance;
      near += (near.empty() ? "" : ", ") + std::string(language.first) + " (" +
              std::string(language.second) + ")";
    };
    for (const Pair& language : kLanguages) consider(language);
    if (wanted.size() > 3) {
      for (const Pair& alias : kAliases) consider(alias);
    }
  }
  for (char& c : wanted) c = static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? '?' : c;
  throw std::invalid_argument(
      "language: expected a code or a name such as 'de' or 'german', found '" +
      wanted.substr(0, 40) + "'" + (near.empty() ? "" : "; near: " + near));
}

}  // namespace runnel::models::whisper
