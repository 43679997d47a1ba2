#include "engine/pickle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/engine/bytes.h"

namespace runnel::engine {
namespace {

using ::testing::HasSubstr;
using Kind = PickleValue::Kind;
using testing::Bytes;
using testing::error_of;
using namespace std::string_literals;

Pickle read(const std::string& stream) {
  return Pickle(Bytes().text(stream), {"collections OrderedDict"});
}

std::string error(const std::string& stream) {
  return error_of([&] { read(stream); });
}

TEST(Pickle, ReadsProtocol2) {
  // pickle.dumps({"a": (1, -2, 1 << 40), "b": [0.5, None, True]}, 2), but for the memo's PUTs.
  const Pickle pickle = read(
      "\x80\x02}(X\x01\0\0\0aK\x01J\xfe\xff\xff\xff\x8a\x06\0\0\0\0\0\x01\x87"
      "X\x01\0\0\0b](G?\xe0\0\0\0\0\0\0N\x88"
      "eu."s);
  const PickleValue& root = pickle.root();
  ASSERT_TRUE(root.is(Kind::kDict));
  const PickleValue* a = root.find("a");
  ASSERT_TRUE(a && a->is(Kind::kTuple));
  ASSERT_EQ(a->items.size(), 3U);
  EXPECT_EQ(a->items[0]->integer, 1);
  EXPECT_EQ(a->items[1]->integer, -2);
  EXPECT_EQ(a->items[2]->integer, 1LL << 40);
  const PickleValue* b = root.find("b");
  ASSERT_TRUE(b && b->is(Kind::kList));
  EXPECT_EQ(b->items[0]->real, 0.5);
  EXPECT_TRUE(b->items[1]->is(Kind::kNone));
  EXPECT_TRUE(b->items[2]->is(Kind::kBool));
  EXPECT_EQ(root.find("c"), nullptr);
}

TEST(Pickle, ReadsProtocol4AndItsMemo) {
  // pickle.dumps(["ab", "ab"], 4): a frame, and the second string from the memo.
  const Pickle pickle = read(
      "\x80\x04\x95\x0c\0\0\0\0\0\0\0]\x94(\x8c\x02"
      "ab\x94h\x01"
      "e."s);
  ASSERT_EQ(pickle.root().items.size(), 2U);
  EXPECT_EQ(pickle.root().items[0]->text, "ab");
  EXPECT_EQ(pickle.root().items[0], pickle.root().items[1]);
}

TEST(Pickle, KeepsCallsAsData) {
  const Pickle pickle = read(
      "\x80\x02"
      "ccollections\nOrderedDict\n)Rq\0X\x01\0\0\0kK\x07s}X\x01\0\0\0mK\x09sb."s);
  const PickleValue& root = pickle.root();
  ASSERT_TRUE(root.is(Kind::kCall));
  EXPECT_EQ(root.items[0]->text, "collections OrderedDict");
  ASSERT_NE(root.find("k"), nullptr);
  EXPECT_EQ(root.find("k")->integer, 7);
}

TEST(Pickle, RefusesNamesOutsideTheListByName) {
  EXPECT_THAT(error("\x80\x02"
                    "cos\nsystem\nX\x04\0\0\0true\x85R."s),
              HasSubstr("'os system' is not on the list"));
  EXPECT_THAT(error("\x80\x04\x8c\x05posix\x8c\x06system\x93."s), HasSubstr("'posix system'"));
  EXPECT_THAT(error("\x80\x02"
                    "ccollections\nOrderedDict.__class__\n."s),
              HasSubstr("'collections OrderedDict.__class__'"));
}

TEST(Pickle, RefusesStackUnderflow) {
  for (const char* stream :
       {".", "0.", "\x85.", "NN\x87.", "Na.", "]s.", "R.", "N(0.", "(a.", "Q."}) {
    EXPECT_THAT(error(stream), HasSubstr("underflow")) << stream;
  }
  for (const char* stream : {"t.", "e.", "u."}) EXPECT_THAT(error(stream), HasSubstr("no mark"));
}

TEST(Pickle, RefusesDamage) {
  const std::vector<std::pair<std::string, const char*>> cases = {
      {"", "ends too early"},
      {"X\xff\xff\xff\xffzz.", "ends too early"},
      {"\x8d\xff\xff\xff\xff\xff\xff\xff\xffzz.", "ends too early"},
      {"cos", "ends too early"},
      {"h\x05.", "reference to nothing"},
      {"N(e.", "cannot hold"},
      {"}(Nu.", "key without a value"},
      {"NNR.", "a call of what is not a name"},
      {"\x8a\x09"
       "123456789.",
       "an integer of 9 bytes"},
      {"i.", "opcode 105 is not accepted"},         // INST
      {"\x82\x01.", "opcode 130 is not accepted"},  // EXT1
  };
  for (const auto& [stream, what] : cases) EXPECT_THAT(error(stream), HasSubstr(what));
}

TEST(Pickle, ValuesMayReferToThemselves) {
  const Pickle pickle = read("]q\0h\0a."s);
  EXPECT_EQ(pickle.root().items[0], &pickle.root());
}

}  // namespace
}  // namespace runnel::engine
