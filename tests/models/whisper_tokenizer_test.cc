#include "models/whisper/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "tests/models/goldens.h"

namespace runnel::models::whisper {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

const fs::path kFixture = "tests/fixtures/whisper-tokenizer";

json read_json(const fs::path& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file) << path;
  return json::parse(file);
}

void write(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

int text_tokens(int vocab_size) { return vocab_size == 51864 ? 50256 : 50257; }

/// The made-up vocabulary grown to a public one's size: unreachable tokens, and the specials that
/// tell one vocabulary from another.
json grown(int vocab_size) {
  json root = read_json(kFixture / "tokenizer.json");
  json& vocab = root["model"]["vocab"];
  const int text = text_tokens(vocab_size), last_language = vocab_size - 1508;
  // Written so, "ÿþ" are the bytes 0xFF 0xFE, which no token joins.
  for (int id = static_cast<int>(vocab.size()); id < 50256; ++id) {
    vocab["ÿþ" + std::to_string(id)] = id;
  }
  if (text == 50257) vocab[""] = 50256;
  vocab["<|endoftext|>"] = text;
  const auto add = [&](const std::string& name, int id) {
    root["added_tokens"].push_back({{"id", id}, {"content", name}, {"special", true}});
  };
  add("<|endoftext|>", text);
  add("<|startoftranscript|>", text + 1);
  add("<|en|>", text + 2);
  add("<|translate|>", last_language + 1);
  add("<|nocaptions|>", last_language + 5);
  add("<|notimestamps|>", last_language + 6);
  return root;
}

/// A folder that is gone after the test.
class Folder {
 public:
  Folder() : path_(fs::path(::testing::TempDir()) / ("whisper-tokenizer-" + test_name())) {
    fs::remove_all(path_);
    fs::create_directories(path_);
  }
  ~Folder() { fs::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  const fs::path& path() const { return path_; }
  const Folder& with(const std::string& name, const std::string& text) const {
    write(path_ / name, text);
    return *this;
  }

 private:
  static std::string test_name() {
    return ::testing::UnitTest::GetInstance()->current_test_info()->name();
  }
  fs::path path_;
};

/// As three files: vocab.json, merges.txt, added_tokens.json.
void write_parts(const Folder& folder, const json& root) {
  std::string merges = "#version: 0.2\n";
  for (const json& merge : root["model"]["merges"]) merges += merge.get<std::string>() + "\r\n";
  json added = json::object();
  for (const json& token : root["added_tokens"]) {
    added[token["content"].get<std::string>()] = token["id"];
  }
  folder.with("vocab.json", root["model"]["vocab"].dump())
      .with("merges.txt", merges)
      .with("added_tokens.json", added.dump());
}

Tokenizer tiny(int vocab_size = 51865) {
  const Folder folder;
  folder.with("tokenizer.json", grown(vocab_size).dump());
  return Tokenizer::from_folder(folder.path(), vocab_size);
}

std::vector<std::string> byte_strings(const Tokenizer& tokenizer) {
  std::vector<std::string> tokens;
  for (int id = 0; id < tokenizer.special().end_of_text; ++id) {
    tokens.push_back(tokenizer.decode_bytes(std::vector{id}));
  }
  return tokens;
}

void expect_samples(const Tokenizer& tokenizer, const json& samples) {
  ASSERT_FALSE(samples.empty());
  for (const json& sample : samples) {
    const std::string text = sample["text"];
    const auto ids = tokenizer.encode(text);
    EXPECT_EQ(ids, sample["ids"].get<std::vector<int>>()) << text;
    EXPECT_EQ(tokenizer.decode(ids), text);
  }
}

std::string error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "nothing was thrown";
}

std::vector<std::string> texts(const std::vector<WordTokens>& words) {
  std::vector<std::string> result;
  for (const WordTokens& word : words) result.push_back(word.text);
  return result;
}

TEST(WhisperTokenizer, EncodesTheMadeUpVocabularyAsTiktokenDoes) {
  const json samples = read_json(kFixture / "samples.json");
  for (int vocab_size : {51864, 51865, 51866}) {
    SCOPED_TRACE(vocab_size);
    const Folder folder;
    const json root = grown(vocab_size);
    write_parts(folder, root);
    expect_samples(Tokenizer::from_folder(folder.path(), vocab_size), samples);
    folder.with("tokenizer.json", root.dump());
    expect_samples(Tokenizer::from_folder(folder.path(), vocab_size), samples);
  }
}

TEST(WhisperTokenizer, ReadsMergesWrittenAsPairs) {
  json root = grown(51865);
  for (json& merge : root["model"]["merges"]) {
    const std::string both = merge;
    const auto space = both.find(' ');
    merge = {both.substr(0, space), both.substr(space + 1)};
  }
  const Folder folder;
  folder.with("tokenizer.json", root.dump());
  expect_samples(Tokenizer::from_folder(folder.path(), 51865),
                 read_json(kFixture / "samples.json"));
}

TEST(WhisperTokenizer, EncodesWithoutAListOfMerges) {
  auto tokens = byte_strings(tiny());
  const json samples = read_json(kFixture / "samples.json");
  expect_samples(Tokenizer::from_vocabulary(tokens, 51865), samples);
  // ggml files may leave out the empty token, or go on with the specials.
  tokens.pop_back();
  expect_samples(Tokenizer::from_vocabulary(tokens, 51865), samples);
  expect_samples(Tokenizer::from_vocabulary(tokens, 51864), samples);
  tokens.resize(51865, "[_extra_]");
  expect_samples(Tokenizer::from_vocabulary(tokens, 51865), samples);
}

TEST(WhisperTokenizer, AcceptsAVocabularyWithoutTheEmptyToken) {
  json root = grown(51865);
  root["model"]["vocab"].erase("");
  root.erase("added_tokens");
  const Folder folder;
  folder.with("tokenizer.json", root.dump());
  EXPECT_EQ(Tokenizer::from_folder(folder.path(), 51865).special().end_of_text, 50257);
}

/// Vocabularies of the public sizes: made up, and the public ones.
class WhisperVocabularies : public ::testing::TestWithParam<std::string> {
 protected:
  static fs::path folder(const std::string& name) {
    return models::testing::golden(GetParam(), name);
  }
};
INSTANTIATE_TEST_SUITE_P(, WhisperVocabularies, ::testing::ValuesIn(models::testing::golden_sets()),
                         models::testing::set_name);

TEST_P(WhisperVocabularies, EncodeAsTiktokenDoes) {
  for (const auto& [name, vocab_size] : {std::pair{"whisper-en", 51864},
                                         {"whisper-multilingual", 51865},
                                         {"whisper-turbo", 51866}}) {
    SCOPED_TRACE(name);
    const fs::path golden = folder(name);
    const json samples = read_json(golden / "expected.json")["tokenizer_samples"];
    const auto tokenizer = Tokenizer::from_folder(golden, vocab_size);
    expect_samples(tokenizer, samples);
    expect_samples(Tokenizer::from_vocabulary(byte_strings(tokenizer), vocab_size), samples);

    auto suppressed =
        read_json(golden / "generation_config.json")["suppress_tokens"].get<std::vector<int>>();
    std::erase_if(suppressed, [&](int id) { return id >= tokenizer.special().end_of_text; });
    EXPECT_EQ(tokenizer.non_speech_tokens(), suppressed);
  }
  // With tokenizer.json beside them or not, these files say the same.
  const Folder copy;
  for (const char* name : {"vocab.json", "merges.txt", "added_tokens.json"}) {
    fs::copy_file(folder("whisper-multilingual") / name, copy.path() / name);
  }
  expect_samples(Tokenizer::from_folder(copy.path(), 51865),
                 read_json(folder("whisper-multilingual") / "expected.json")["tokenizer_samples"]);
}

TEST_P(WhisperVocabularies, NameTheirAddedTokensAsTheTokenizerKnowsThem) {
  std::map<std::string, int> turbo;
  const json root = read_json(folder("whisper-turbo") / "tokenizer.json");
  for (const json& token : root["added_tokens"]) {
    turbo[token["content"]] = token["id"];
  }
  const auto added = [&](const char* name) {
    return read_json(folder(name) / "added_tokens.json").get<std::map<std::string, int>>();
  };
  for (const auto& [tokens, vocab_size] : {std::pair{added("whisper-en"), 51864},
                                           {added("whisper-multilingual"), 51865},
                                           {turbo, 51866}}) {
    const Tokenizer tokenizer = tiny(vocab_size);
    EXPECT_GE(tokens.size(), 1607u);
    for (const auto& [name, id] : tokens) {
      EXPECT_EQ(tokenizer.decode_with_specials(std::vector{id}), name);
    }
  }
}

TEST(WhisperTokenizer, PlacesSpecialTokensByTheVocabularySize) {
  const Tokenizer english = tiny(51864), multilingual = tiny(51865), cantonese = tiny(51866);
  EXPECT_FALSE(english.multilingual());
  EXPECT_TRUE(multilingual.multilingual());
  EXPECT_EQ(english.special().end_of_text, 50256);
  EXPECT_EQ(english.special().no_speech, 50361);
  EXPECT_EQ(english.special().first_timestamp, 50363);
  EXPECT_EQ(multilingual.special().start_of_transcript, 50258);
  EXPECT_EQ(multilingual.special().translate, 50358);
  EXPECT_EQ(multilingual.special().transcribe, 50359);
  EXPECT_EQ(multilingual.special().start_of_prev, 50361);
  EXPECT_EQ(multilingual.special().no_timestamps, 50363);
  EXPECT_EQ(cantonese.special().no_timestamps, 50364);
  EXPECT_EQ(english.language_count(), 99);
  EXPECT_EQ(cantonese.language_count(), 100);
  EXPECT_EQ(english.language_token("de"), 50260);
  EXPECT_EQ(multilingual.language_token("su"), 50357);
  EXPECT_EQ(cantonese.language_token("yue"), 50358);
  EXPECT_EQ(cantonese.language_of(50358), "yue");
  EXPECT_EQ(cantonese.language_of(50359), "");
  EXPECT_THROW(multilingual.language_token("yue"), std::invalid_argument);
  EXPECT_THROW(multilingual.language_token("german"), std::invalid_argument);
  EXPECT_FALSE(multilingual.is_timestamp(50363));
  EXPECT_TRUE(multilingual.is_timestamp(51864));
  EXPECT_FALSE(multilingual.is_timestamp(51865));
  EXPECT_NEAR(multilingual.timestamp_seconds(51864), 30.0, 1e-12);
  EXPECT_NEAR(cantonese.timestamp_seconds(50366), 0.02, 1e-12);
}

TEST(WhisperTokenizer, ReturnsArbitraryBytesUnchanged) {
  const Tokenizer tokenizer = tiny();
  std::mt19937 random(5);
  for (int round = 0; round < 500; ++round) {
    std::string text(random() % 60, ' ');
    // Half of them mostly text, so that there are words to merge.
    for (char& c : text)
      c = round % 2 ? "river' \n\x9f\xe2\x99\xaa"[random() % 12] : char(random());
    EXPECT_EQ(tokenizer.decode_bytes(tokenizer.encode(text)), text);
  }
}

TEST(WhisperTokenizer, DecodesMalformedSequencesAsPythonDoes) {
  const Tokenizer tokenizer = tiny();
  const auto decode = [&](std::string_view bytes) {
    return tokenizer.decode(tokenizer.encode(bytes));
  };
  EXPECT_EQ(decode("a\xE6\x97"), "a\uFFFD");
  EXPECT_EQ(decode("\xF0\x9F\x99x"), "\uFFFDx");
  EXPECT_EQ(decode("\xC0\x80"), "\uFFFD\uFFFD");                      // overlong
  EXPECT_EQ(decode("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");            // a surrogate
  EXPECT_EQ(decode("\xF4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");  // beyond U+10FFFF
  EXPECT_EQ(decode("\xF4\x8F\xBF\xBF\xC3\xA9"), "\U0010FFFF\u00E9");
}

TEST(WhisperTokenizer, LeavesSpecialTokensOutUnlessAsked) {
  const Tokenizer tokenizer = tiny();
  std::vector<int> tokens{50364};
  for (int id : tokenizer.encode(" The river")) tokens.push_back(id);
  for (int id : {50364 + 60, 50257, -1, 1 << 30}) tokens.push_back(id);
  EXPECT_EQ(tokenizer.decode(tokens), " The river");
  EXPECT_EQ(tokenizer.decode_with_specials(tokens), "<|0.00|> The river<|1.20|><|endoftext|>");
  // A special token's name is text.
  const std::string name = "<|endoftext|>";
  EXPECT_THAT(tokenizer.encode(name), Not(::testing::Contains(50257)));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(name)), name);
}

/// Steps that grew with the square would keep it busy for longer than a test may last.
TEST(WhisperTokenizer, EncodesAWordOfAMillionLetters) {
  const Tokenizer tokenizer = tiny();
  std::string word;
  while (word.size() < 1'000'000) word += "therivervr";
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(word)), word);
}

TEST(WhisperTokenizer, SplitsWordsAtSpacesAndPunctuation) {
  const Tokenizer tokenizer = tiny();
  const auto ids = tokenizer.encode(" The river, and \"boats\" größer... 🙂🙂 go");
  const auto words = tokenizer.split_to_words(ids, "en");
  // The space before the quotes is a token of its own. "..." is one too, which joins the word as in
  // the reference: several signs count as punctuation only in the order of Python's list of them.
  EXPECT_THAT(texts(words), ElementsAre(" The", " river", ",", " and", " ", "\"boats", "\"",
                                        " größer...", " 🙂🙂", " go"));
  std::vector<int> together;
  for (const WordTokens& word : words) {
    EXPECT_EQ(tokenizer.decode(word.tokens), word.text);
    together.insert(together.end(), word.tokens.begin(), word.tokens.end());
  }
  EXPECT_EQ(together, ids);
}

TEST(WhisperTokenizer, SplitsLanguagesWithoutSpacesByCharacter) {
  const Tokenizer tokenizer = tiny();
  const auto ids = tokenizer.encode("橋と川🙂");
  // "橋と" is one token, which is the least part.
  EXPECT_THAT(texts(tokenizer.split_to_words(ids, "ja")), ElementsAre("橋と", "川", "🙂"));
  EXPECT_THAT(texts(tokenizer.split_to_words(ids, "de")), ElementsAre("橋と川🙂"));
}

TEST(WhisperTokenizer, KeepsEveryTokenInAWord) {
  const Tokenizer tokenizer = tiny();
  EXPECT_TRUE(tokenizer.split_to_words({}, "en").empty());
  // Malformed in the middle and at the end, specials between.
  std::vector<int> ids{50364};
  for (int id : tokenizer.encode("\xE6\x97 river \xF0\x9F\x99")) ids.push_back(id);
  ids.push_back(50257);
  for (int id : tokenizer.encode("\xE2\x99")) ids.push_back(id);
  for (const char* language : {"en", "ja"}) {
    std::vector<int> together;
    for (const WordTokens& word : tokenizer.split_to_words(ids, language)) {
      EXPECT_FALSE(word.tokens.empty());
      together.insert(together.end(), word.tokens.begin(), word.tokens.end());
    }
    EXPECT_EQ(together, ids);
  }
  EXPECT_THAT(texts(tokenizer.split_to_words(ids, "en")),
              ElementsAre("<|0.00|>\uFFFD", " river", " \uFFFD", "<|endoftext|>\uFFFD"));
}

TEST(WhisperTokenizer, SuppressesOnlySymbolsThatAreOneToken) {
  const Tokenizer tokenizer = tiny();
  const auto ids = tokenizer.non_speech_tokens();
  EXPECT_THAT(ids, ::testing::Contains(tokenizer.encode("(").front()));
  // Learnt as one token; "---" was not, so its beginning stays.
  ASSERT_EQ(tokenizer.encode("♪♪").size(), 1u);
  EXPECT_THAT(ids, ::testing::Contains(tokenizer.encode("♪♪").front()));
  EXPECT_THAT(ids, Not(::testing::Contains(tokenizer.encode(".").front())));
  EXPECT_TRUE(std::is_sorted(ids.begin(), ids.end()));
}

TEST(WhisperLanguages, AreKnownByCodeNameAndAlias) {
  ASSERT_EQ(languages().size(), 100u);
  EXPECT_EQ(languages()[0].first, "en");
  EXPECT_EQ(languages()[99].second, "cantonese");
  EXPECT_EQ(language_code("de"), "de");
  EXPECT_EQ(language_code("German"), "de");
  EXPECT_EQ(language_code("CASTILIAN"), "es");
  EXPECT_EQ(language_code("mandarin"), "zh");
  EXPECT_EQ(language_code("moldovan"), "ro");
  EXPECT_EQ(language_code("haitian creole"), "ht");
  EXPECT_THAT(error_of([] { language_code("germn"); }), HasSubstr("near: de (german)"));
  EXPECT_THAT(error_of([] { language_code("Castillan"); }), HasSubstr("es (castilian)"));
  EXPECT_THAT(error_of([] { language_code("qqqqqq"); }),
              AllOf(HasSubstr("found 'qqqqqq'"), Not(HasSubstr("near"))));
  EXPECT_THROW(language_code(""), std::invalid_argument);
}

/// One line that begins with the file's path and says the rest.
void expect_refusal(const fs::path& folder, const std::string& file, const std::string& part,
                    int vocab_size = 51865) {
  const auto error = error_of([&] { Tokenizer::from_folder(folder, vocab_size); });
  EXPECT_TRUE(error.starts_with((folder / file).string() + ": ")) << error;
  EXPECT_THAT(error, HasSubstr(part));
  EXPECT_EQ(error.find('\n'), std::string::npos) << error;
  EXPECT_LT(error.size(), folder.string().size() + 250) << error;
}

TEST(WhisperTokenizer, RefusesMalformedTokenizerJsonInOneLine) {
  const Folder folder;
  const auto refuse = [&](const std::string& text, const std::string& part, int size = 51865) {
    folder.with("tokenizer.json", text);
    expect_refusal(folder.path(), "tokenizer.json", part, size);
  };
  const json good = grown(51865);
  const auto changed = [&](const std::function<void(json&)>& change) {
    json root = good;
    change(root);
    return root.dump();
  };
  const auto vocab = [](json& root) -> json& { return root["model"]["vocab"]; };
  refuse("", "expected JSON");
  refuse(good.dump().substr(0, 5000), "expected JSON, found 5000 bytes");
  refuse(std::string(100000, '['), "expected JSON");
  refuse("[]", "expected a JSON object");
  refuse("{}", "'model'");
  refuse(changed([](json& r) { r["model"]["type"] = "Unigram"; }), "expected 'BPE'");
  refuse(changed([&](json& r) { vocab(r) = 1; }), "expected an object of tokens and ids, found 1");
  refuse(changed([&](json& r) { vocab(r).erase("ÿþ777"); }), "found none with id 777");
  refuse(changed([&](json& r) { vocab(r)["ÿþ777"] = 778; }), "found two");
  refuse(changed([&](json& r) { vocab(r)["ÿþ777"] = 60000; }), "expected an id below 51865");
  refuse(changed([&](json& r) { vocab(r)["ÿþ777"] = -1; }), "expected an id below 51865, found -1");
  refuse(changed([&](json& r) { vocab(r)["ÿþ777"] = "7\n7"; }), "found '7?7'");
  refuse(changed([&](json& r) { vocab(r)["a b\n" + std::string(999, 'x')] = 777; }), "byte-level");
  refuse(changed([&](json& r) {
           vocab(r).erase("!");
           vocab(r)["ÿþ"] = 0;
         }),
         "a token for every byte, found none for 0x21");
  refuse(changed([](json& r) { r["model"]["merges"] = 3; }), "expected a list");
  refuse(changed([](json& r) { r["model"]["merges"][7] = "a"; }), "merge of two tokens");
  refuse(changed([](json& r) { r["model"]["merges"][7] = "a b c"; }), "merge of two tokens");
  refuse(changed([](json& r) { r["model"]["merges"][7] = {"a", 3}; }), "[\"a\", \"b\"]");
  refuse(changed([](json& r) { r["model"]["merges"][7] = "a 日"; }), "merge 7: ");
  refuse(changed([](json& r) { r["model"]["merges"][7] = "! q"; }), "merge 7: ");
  refuse(changed([](json& r) { r["added_tokens"] = {1}; }), "'id' and 'content'");
  refuse(changed([](json& r) { r["added_tokens"][2]["id"] = 51000; }),
         "'<|en|>': expected id 50259 in a vocabulary of 51865, found 51000");
  // Vocabularies of other models.
  refuse(grown(51864).dump(), "'<|endoftext|>': expected id 50257");
  refuse(grown(51866).dump(), "expected id 50358");
  refuse(good.dump(), "expected id 50256", 51864);
  refuse(good.dump(), "expected id 50359", 51866);
}

TEST(WhisperTokenizer, RefusesMalformedPartsInOneLine) {
  const Folder folder;
  const json good = grown(51865);
  EXPECT_THAT(error_of([&] { Tokenizer::from_folder(folder.path(), 51865); }),
              HasSubstr("expected tokenizer.json, or vocab.json and merges.txt"));
  write_parts(folder, good);
  EXPECT_THAT(
      error_of([&] { Tokenizer::from_folder(folder.path(), 51000); }),
      AllOf(HasSubstr("expected 51864 (English only), 51865 or 51866"), HasSubstr("found 51000")));
  fs::remove(folder.path() / "merges.txt");
  expect_refusal(folder.path(), "merges.txt", "No such file");
  fs::create_directory(folder.path() / "merges.txt");
  expect_refusal(folder.path(), "merges.txt", "expected a file, found something else");
  fs::remove(folder.path() / "merges.txt");
  write_parts(folder, good);
  folder.with("merges.txt", "#version: 0.2\nt h\nth\n");
  expect_refusal(folder.path(), "merges.txt", "merge of two tokens");
  write_parts(folder, good);
  folder.with("merges.txt", "t h\nt \xff\xfe\n");
  expect_refusal(folder.path(), "merges.txt", "merge 1: expected a token");
  write_parts(folder, good);
  folder.with("vocab.json", "{\"a\": 1}");
  expect_refusal(folder.path(), "vocab.json", "found none with id 0");
  write_parts(folder, good);
  folder.with("added_tokens.json", "{\"<|0.00|>\": 50363}");
  expect_refusal(folder.path(), "added_tokens.json", "expected id 50364");
}

TEST(WhisperTokenizer, RefusesAVocabularyOfAnotherSize) {
  auto tokens = byte_strings(tiny());
  EXPECT_THAT(error_of([&] { Tokenizer::from_vocabulary({"a"}, 51865); }),
              HasSubstr("expected 50256 to 51865 tokens, found 1"));
  tokens[5].clear();
  EXPECT_THAT(error_of([&] { Tokenizer::from_vocabulary(tokens, 51865); }),
              HasSubstr("none for 0x26"));
  tokens.resize(60000);
  EXPECT_THROW(Tokenizer::from_vocabulary(tokens, 51865), std::runtime_error);
}

TEST(CompressionRatio, IsThatOfZlib) {
  EXPECT_EQ(compression_ratio(""), 0);
  // Python: len(t) / len(zlib.compress(t))
  EXPECT_NEAR(compression_ratio("a"), 1.0 / 9, 1e-12);
  EXPECT_NEAR(compression_ratio(std::string(1000, 'a')), 1000.0 / 17, 1e-12);
  EXPECT_LT(compression_ratio("The quick brown fox jumps over the lazy dog."), 1);
  std::string repeated;
  for (int i = 0; i < 40; ++i) repeated += " thank you";
  EXPECT_GT(compression_ratio(repeated), 2.4);
}

}  // namespace
}  // namespace runnel::models::whisper
