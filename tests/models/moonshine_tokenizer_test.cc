// Moonshine's tokenizer against Hugging Face's.
#include "models/moonshine/tokenizer.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "tests/models/moonshine_reference.h"

namespace runnel::models::moonshine {
namespace {

using nlohmann::json;

const std::filesystem::path kFixture = "tests/fixtures/moonshine-tokenizer";
constexpr int kSize = 512;

json read(const std::filesystem::path& path) {
  std::ifstream file(path);
  return json::parse(file);
}

TEST(MoonshineTokenizer, EncodesAndDecodesAsTheReference) {
  const Tokenizer tokenizer = Tokenizer::from_folder(kFixture, kSize);
  const json samples = read(kFixture / "samples.json");
  for (const json& sample : samples["encoded"]) {
    const std::string text = sample["text"];
    const std::vector<int> ids = tokenizer.encode(text);
    EXPECT_EQ(ids, sample["ids"].get<std::vector<int>>()) << text;
    EXPECT_EQ(tokenizer.decode(ids), sample["decoded"]) << text;
  }
  for (const json& sample : samples["decoded"]) {
    const std::vector<int> ids = sample["ids"];
    EXPECT_EQ(tokenizer.decode(ids), sample["decoded"]) << sample;
  }
}

TEST(MoonshineTokenizer, EncodesAsTheGoldens) {
  for (const std::filesystem::path& folder : testing::golden_folders()) {
    const Tokenizer tokenizer = Tokenizer::from_folder(folder, 512);
    const json expected = read(folder / "expected.json");
    for (const json& sample : expected["tokenizer_samples"]) {
      std::vector<int> ids = sample["ids_with_bos"];
      EXPECT_EQ(tokenizer.decode(ids), sample["decoded"]);
      ids.erase(ids.begin());
      EXPECT_EQ(tokenizer.encode(sample["text"].get<std::string>()), ids);
    }
    for (const auto& [run, what] : expected["runs"].items()) {
      EXPECT_EQ(tokenizer.decode(what["tokens"].get<std::vector<int>>()), what["text"]) << run;
    }
  }
}

TEST(MoonshineTokenizer, KnowsWhatItsTokensAre) {
  const Tokenizer tokenizer = Tokenizer::from_folder(kFixture, kSize);
  EXPECT_EQ(tokenizer.vocab_size(), kSize);
  for (const int special : {0, 1, 2, 504, 511, -1, kSize}) {
    EXPECT_TRUE(tokenizer.is_special(special)) << special;
    EXPECT_FALSE(tokenizer.begins_word(special)) << special;
    EXPECT_EQ(tokenizer.bytes_of(special), "") << special;
  }
  EXPECT_FALSE(tokenizer.is_special(3));
  EXPECT_EQ(tokenizer.bytes_of(3), std::string_view("\0", 1));
  EXPECT_EQ(tokenizer.bytes_of(3 + 0xC3), "\xC3");
  const std::vector<int> words = tokenizer.encode("the river, over there");
  std::string bytes;
  int begun = 0;
  for (const int token : words) {
    bytes += tokenizer.bytes_of(token);
    begun += tokenizer.begins_word(token);
  }
  EXPECT_EQ(bytes, " the river, over there");
  EXPECT_EQ(begun, 4);
  const std::vector<int> inside = tokenizer.encode_inside("river over");
  bytes.clear();
  for (const int token : inside) bytes += tokenizer.bytes_of(token);
  EXPECT_EQ(bytes, "river over");
  EXPECT_FALSE(tokenizer.begins_word(inside.front()));
}

TEST(MoonshineTokenizer, TakesMalformedTextByteByByte) {
  const Tokenizer tokenizer = Tokenizer::from_folder(kFixture, kSize);
  const std::vector<int> ids = tokenizer.encode("\xC3x\xFF");
  std::string bytes;
  for (const int token : ids) bytes += tokenizer.bytes_of(token);
  EXPECT_EQ(bytes, " \xC3x\xFF");
}

TEST(MoonshineTokenizer, CanBeMadeUp) {
  const Tokenizer tokenizer = Tokenizer::made_up(1000);
  EXPECT_EQ(tokenizer.vocab_size(), 1000);
  EXPECT_TRUE(tokenizer.is_special(2));
  EXPECT_FALSE(tokenizer.is_special(999));
  EXPECT_TRUE(tokenizer.begins_word(999));
  const int two[] = {500, 999};
  EXPECT_EQ(tokenizer.decode(two), "<500> <999>");
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("x ü")), "x ü");
  EXPECT_THROW(Tokenizer::made_up(259), std::runtime_error);
}

/// What from_folder says of the fixture's file after this change.
std::string error_after(const std::function<void(json&)>& change, int size = kSize) {
  const std::filesystem::path folder =
      std::filesystem::path(::testing::TempDir()) / "runnel-moonshine-tokenizer";
  std::filesystem::create_directories(folder);
  json file = read(kFixture / "tokenizer.json");
  change(file);
  std::ofstream(folder / "tokenizer.json") << file.dump();
  std::string error;
  try {
    Tokenizer::from_folder(folder, size);
  } catch (const std::runtime_error& e) {
    error = e.what();
  }
  std::filesystem::remove_all(folder);
  const std::string path = (folder / "tokenizer.json").string() + ": ";
  return error.starts_with(path) ? error.substr(path.size()) : error;
}

TEST(MoonshineTokenizer, RefusesWhatIsNotItsKindInOneLine) {
  EXPECT_EQ(error_after([](json&) {}), "");
  EXPECT_EQ(error_after([](json& f) { f["model"]["type"] = "WordPiece"; }),
            "key 'model.type': expected \"BPE\", found \"WordPiece\"");
  EXPECT_EQ(error_after([](json& f) { f.erase("model"); }),
            "key 'model.type': expected \"BPE\", found null");
  EXPECT_EQ(error_after([](json& f) { f["model"]["byte_fallback"] = false; }),
            "key 'model.byte_fallback': expected true, found false");
  EXPECT_EQ(error_after([](json& f) { f["model"]["vocab"] = 3; }),
            "key 'model.vocab': expected an object of pieces and ids, found 3");
  EXPECT_EQ(error_after([](json& f) { f["model"]["vocab"]["x y"] = 512; }),
            "key 'id of 'x y'': expected 0 to 511, found 512");
  EXPECT_EQ(error_after([](json& f) { f["model"]["vocab"]["▁the"] = 5; }),
            "expected one token with id 5, found two: '<0x02>' and '▁the'");
  EXPECT_EQ(error_after([](json& f) { f["model"]["vocab"].erase("<0x41>"); }),
            "expected tokens 0 to 511 for a vocab_size of 512, found none with id 68");
  EXPECT_EQ(error_after([](json&) {}, 600),
            "expected tokens 0 to 599 for a vocab_size of 600, found none with id 512");
  EXPECT_NE(error_after([](json&) {}, 400).find("expected 0 to 399, found"), std::string::npos);
  EXPECT_EQ(error_after([](json& f) { f["model"]["merges"][3] = "x"; }),
            "merge 3: expected two pieces that make a third, found \"x\"");
  EXPECT_EQ(error_after([](json& f) {
              f["model"]["merges"][3] = json::array({"t", "qq"});
            }),
            "merge 3: expected two pieces that make a third, found 't' and 'qq'");
  EXPECT_EQ(error_after([](json& f) { f["model"]["merges"] = "a b"; }),
            "key 'model.merges': expected a list, found \"a b\"");
  EXPECT_EQ(error_after([](json& f) { f["normalizer"] = nullptr; }),
            "key 'normalizer.type': expected \"Replace\", found null");
  EXPECT_EQ(error_after([](json& f) { f["normalizer"]["normalizers"][0]["type"] = "NFC"; }),
            "key 'normalizer.type': expected \"Replace\", found \"NFC\"");
  EXPECT_EQ(error_after([](json& f) {
              f["pre_tokenizer"] = json{{"type", "Metaspace"}};
            }),
            "key 'pre_tokenizer': expected null, found an object");
  EXPECT_EQ(error_after([](json& f) { f["decoder"]["decoders"][2]["type"] = "Strip"; }),
            "key 'decoder.type': expected \"Fuse\", found \"Strip\"");
  EXPECT_EQ(error_after([](json& f) { f["added_tokens"][0]["lstrip"] = true; }),
            "key 'added_tokens.lstrip of '<unk>'': expected false, found true");
  const std::filesystem::path folder =
      std::filesystem::path(::testing::TempDir()) / "runnel-no-tokenizer";
  std::filesystem::create_directories(folder);
  EXPECT_THROW(Tokenizer::from_folder(folder, kSize), std::runtime_error);
  std::ofstream(folder / "tokenizer.json") << "{\"model\": ";
  EXPECT_THROW(Tokenizer::from_folder(folder, kSize), std::runtime_error);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace runnel::models::moonshine
