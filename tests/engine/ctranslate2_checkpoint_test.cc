#include "engine/ctranslate2_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/engine/ctranslate2_bytes.h"

namespace runnel::engine {
namespace {

using testing::Bytes;
using testing::CTranslate2File;
using testing::error_of;
using ::testing::HasSubstr;

const std::vector<float> kValues = {1.5f, -2, 3, 0.25f, 0, -1};

std::string parse_error(const Bytes& file) {
  const std::string error = error_of([&] { CTranslate2Checkpoint::borrow(file, "f"); });
  EXPECT_EQ(error.find('\n'), std::string::npos);
  return error;
}

CTranslate2File small() {
  CTranslate2File file;
  file.add("a/weight", DType::kF32, {2, 3}, kValues);
  file.add("heads", DType::kI16, {}, std::vector<float>{6});
  file.aliases = {{"b/weight", "a/weight"}};
  return file;
}

std::vector<float> read(const Bytes& file, const char* tensor, std::size_t first = 0) {
  const auto checkpoint = CTranslate2Checkpoint::borrow(file, "f");
  std::vector<float> values(6 - first);
  checkpoint.get(tensor, {2, 3});
  checkpoint.read(tensor, std::int64_t(first), values);
  return values;
}

// By hand, so that the builder and the reader cannot share a mistake.
TEST(CTranslate2Checkpoint, ReadsBytesAsModelSpecWritesThem) {
  Bytes file = Bytes().number(6, 4).number(6, 2).text("MSpec").number(0, 1).number(7, 4);
  file.number(2, 4);
  file.number(2, 2).text("w").number(0, 1).number(2, 1).number(1, 4).number(2, 4);
  file.number(4, 1).number(4, 4).number(0x3c00, 2).number(0xc000, 2);
  file.number(2, 2).text("x").number(0, 1).number(0, 1).number(1, 1).number(1, 4).number(0xFE, 1);
  file.number(1, 4).number(2, 2).text("v").number(0, 1).number(2, 2).text("w").number(0, 1);
  EXPECT_TRUE(CTranslate2Checkpoint::is_ctranslate2(file));
  const auto checkpoint = CTranslate2Checkpoint::borrow(file, "f");
  EXPECT_EQ(checkpoint.label(), "f");
  EXPECT_EQ(checkpoint.model(), "MSpec");
  EXPECT_EQ(checkpoint.revision(), 7u);
  EXPECT_EQ(checkpoint.tensors().size(), 3u);
  EXPECT_EQ(checkpoint.integer("x"), -2);
  EXPECT_EQ(checkpoint.integer("w"), std::nullopt);
  EXPECT_EQ(checkpoint.integer("y"), std::nullopt);
  for (const char* name : {"w", "v"}) {
    std::vector<float> values(2);
    EXPECT_EQ(checkpoint.get(name, {1, 2}).dtype, DType::kF16);
    checkpoint.read(name, 0, values);
    EXPECT_EQ(values, (std::vector<float>{1, -2})) << name;
  }
}

TEST(CTranslate2Checkpoint, ReadsEveryTypeAndVersion) {
  for (std::uint32_t version = 1; version <= 6; ++version) {
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
      if (version < 4 && dtype != DType::kF32) continue;
      CTranslate2File file{.version = version};
      file.add("a/weight", dtype, {2, 3}, kValues);
      EXPECT_EQ(read(file.file(), "a/weight"), kValues) << version << name(dtype);
      EXPECT_EQ(read(file.file(), "a/weight", 2), std::vector(kValues.begin() + 2, kValues.end()));
    }
    CTranslate2File file{.version = version};
    const std::vector<float> integers = {127, -64, 2, 100, -50, 1}, scales = {2, 50};
    file.add("a/weight", DType::kI8, {2, 3}, integers);
    file.add("a/weight_scale", DType::kF32, {2}, scales);
    file.add("b/weight", DType::kI16, {2, 3}, integers);
    file.add("b/weight_scale", DType::kF32, {}, std::vector<float>{4});
    file.add("c/weight", DType::kI16, {2, 3}, std::vector<float>{1000, -500, 0, 1, 2000, 250});
    if (version >= 3) file.aliases = {{"d/weight", "a/weight"}};
    const std::vector<float> by_rows = {63.5f,   -32, 1, 100 * (1 / 50.f), -50 * (1 / 50.f),
                                        1 / 50.f};
    EXPECT_EQ(read(file.file(), "a/weight"), by_rows) << version;
    EXPECT_EQ(read(file.file(), "b/weight"),
              (std::vector<float>{31.75f, -16, 0.5f, 25, -12.5f, 0.25f}));
    EXPECT_EQ(read(file.file(), "c/weight"),
              (std::vector<float>{1, -0.5f, 0, 0.001f, 2, 0.25f}));  // 1000 where none is said
    for (std::size_t first = 0; first < 6; ++first) {
      EXPECT_EQ(read(file.file(), version >= 3 ? "d/weight" : "a/weight", first),
                std::vector(by_rows.begin() + std::ptrdiff_t(first), by_rows.end()));
    }
  }
}

TEST(CTranslate2Checkpoint, TellsItsFilesFromOthers) {
  EXPECT_TRUE(CTranslate2Checkpoint::is_ctranslate2(small().file()));
  EXPECT_TRUE(CTranslate2Checkpoint::is_ctranslate2(CTranslate2File{.version = 9}.file()));
  EXPECT_FALSE(CTranslate2Checkpoint::is_ctranslate2(Bytes().text("lmgg").number(0, 60)));
  EXPECT_FALSE(CTranslate2Checkpoint::is_ctranslate2(Bytes().text("PK\x03\x04").number(0, 60)));
  EXPECT_FALSE(CTranslate2Checkpoint::is_ctranslate2(Bytes().number(6, 4).number(200, 2)));
  EXPECT_FALSE(CTranslate2Checkpoint::is_ctranslate2(Bytes().number(6, 4)));
}

TEST(CTranslate2Checkpoint, RefusesAFileTruncatedAtAnyByte) {
  const Bytes whole = small().file();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const Bytes part{std::vector<std::byte>(whole.content.begin(),
                                            whole.content.begin() + std::ptrdiff_t(size))};
    EXPECT_THAT(parse_error(part), HasSubstr("(truncated, or not a CTranslate2 file)")) << size;
  }
  EXPECT_EQ(parse_error(Bytes(whole).number(0, 3)),
            "f: expected the end of the file, found 3 bytes more");
}

TEST(CTranslate2Checkpoint, ErrorsSayWhatWasExpectedAndFound) {
  EXPECT_EQ(parse_error(CTranslate2File{.version = 7}.file()),
            "f: version of CTranslate2's format: expected 1 to 6, found 7");
  EXPECT_THAT(parse_error(CTranslate2File{.version = 0}.file()), HasSubstr("1 to 6, found 0"));
  EXPECT_EQ(parse_error(CTranslate2File{.model = ""}.file()),
            "f: length of the model's kind: expected 2 to 257, found 1");
  EXPECT_THAT(parse_error(CTranslate2File{.model = std::string(257, 'x')}.file()),
              HasSubstr("expected 2 to 257, found 258"));
  EXPECT_EQ(parse_error(Bytes().number(6, 4).number(3, 2).text("abc")),
            "f: the model's kind: expected a closing zero, found 'abc'");
  const auto with = [](int type, const Shape& shape, std::size_t bytes, std::uint32_t version = 6) {
    CTranslate2File file{.version = version};
    file.add_data("a\nb", type, shape, Bytes().number(0, int(bytes)));
    return parse_error(file.file());
  };
  EXPECT_EQ(with(6, {1}, 4),
            "f: tensor 'a?b': type: expected float32, int8, int16, int32, float16 or bfloat16 "
            "(0 to 5), found 6");
  EXPECT_EQ(with(0, {2, 3}, 20),
            "f: tensor 'a?b' of shape [2, 3] and type F32: expected 24 bytes, found 20");
  EXPECT_EQ(with(0, {2, 3}, 20, 3),
            "f: tensor 'a?b' of shape [2, 3] and type F32: expected 6 elements, found 5");
  EXPECT_EQ(with(0, {1, 1, 1, 1, 1}, 4), "f: tensor 'a?b': dimensions: expected 0 to 4, found 5");
  const std::int64_t huge = 0xFFFFFFFF;
  EXPECT_THAT(with(0, {huge, huge, huge}, 4), HasSubstr("'a?b': impossible shape [4294967295, "));
  EXPECT_THAT(with(0, {huge / 8}, 4), HasSubstr("expected 2147483644 bytes, found 4"));
  Bytes width = Bytes().number(1, 4).number(1, 4).append(testing::ctranslate2_string("w"));
  EXPECT_EQ(parse_error(width.number(0, 1).number(8, 1).number(1, 4).number(0, 8)),
            "f: tensor 'w': bytes of an element: expected 1, 2 or 4, found 8");
}

TEST(CTranslate2Checkpoint, RefusesHostileCountsAndNamesThatAreTaken) {
  const Bytes start = Bytes().number(6, 4).append(testing::ctranslate2_string("S")).number(3, 4);
  EXPECT_THAT(parse_error(Bytes(start).number(0xFFFFFFFF, 4)), HasSubstr("a variable's name"));
  EXPECT_THAT(parse_error(Bytes(start).number(0, 4).number(0xFFFFFFFF, 4)),
              HasSubstr("the length of an alias"));
  CTranslate2File twice = small();
  twice.add("heads", DType::kI8, {}, std::vector<float>{1});
  EXPECT_EQ(parse_error(twice.file()), "f: tensor 'heads': found twice");
  CTranslate2File aliases = small();
  aliases.aliases = {{"heads", "a/weight"}};
  EXPECT_EQ(parse_error(aliases.file()), "f: tensor 'heads': found twice");
  aliases.aliases = {{"b", "c"}};
  EXPECT_EQ(parse_error(aliases.file()),
            "f: alias 'b': expected a variable of the file, found 'c'");
}

TEST(CTranslate2Checkpoint, RefusesIntegersWithoutTheirScales) {
  const auto error = [](DType dtype, DType scale, const Shape& shape) {
    CTranslate2File file;
    file.add("w", dtype, {2, 3}, kValues);
    if (!shape.empty()) {
      file.add("w_scale", scale, shape, std::vector<float>(std::size_t(elements(shape)), 1));
    }
    const Bytes bytes = file.file();
    const auto checkpoint = CTranslate2Checkpoint::borrow(bytes, "f");
    std::vector<float> out(6);
    const std::string said = error_of([&] { checkpoint.get("w", {2, 3}); });
    EXPECT_EQ(error_of([&] { checkpoint.read("w", 0, out); }), said);
    return said;
  };
  EXPECT_EQ(error(DType::kI8, DType::kF32, {}),
            "f: tensor 'w': expected 'w_scale' of I8 values, found none");
  EXPECT_EQ(error(DType::kI32, DType::kF32, {2}),
            "f: tensor 'w': expected floats, int8 or int16, found I32");
  EXPECT_EQ(error(DType::kI8, DType::kF32, {3}),
            "f: tensor 'w_scale': expected 1 or 2 floats, found F32 of shape [3]");
  EXPECT_EQ(error(DType::kI8, DType::kI8, {2}),
            "f: tensor 'w_scale': expected 1 or 2 floats, found I8 of shape [2]");
}

TEST(CTranslate2Checkpoint, AValueThatIsNotFiniteIsToldWithItsTensorAndPlace) {
  CTranslate2File file;
  file.add("w", DType::kI8, {2, 3}, kValues);
  file.add("w_scale", DType::kF32, {2}, std::vector<float>{1, 0});
  file.add_data("x", 4, {2}, Bytes().number(0x3c00, 2).number(0x7e00, 2), DType::kF16);
  const Bytes bytes = file.file();
  const auto checkpoint = CTranslate2Checkpoint::borrow(bytes, "f");
  std::vector<float> out(6);
  EXPECT_THAT(error_of([&] { checkpoint.read("w", 0, out); }),
              HasSubstr("f: tensor 'w': expected finite values, found NaN at element 3"));
  EXPECT_THAT(error_of([&] { checkpoint.read("x", 0, std::span(out).first(2)); }),
              HasSubstr("f: tensor 'x': expected finite values, found NaN at element 1"));
}

TEST(CTranslate2Checkpoint, ReadsNothingBeyondATensor) {
  const Bytes file = small().file();
  const auto checkpoint = CTranslate2Checkpoint::borrow(file, "f");
  std::vector<float> values(2);
  EXPECT_EQ(error_of([&] { checkpoint.read("a/weight", 5, values); }),
            "f: tensor 'a/weight': expected 2 elements from 5 on, found 6 in all");
  EXPECT_THAT(error_of([&] { checkpoint.read("a/weight", -1, values); }), HasSubstr("from -1 on"));
  EXPECT_EQ(error_of([&] { checkpoint.read("c", 0, values); }), "f: tensor 'c' is missing");
  EXPECT_EQ(error_of([&] { checkpoint.get("c", {4}); }), "f: tensor 'c' of shape [4] is missing");
  EXPECT_EQ(error_of([&] {
              checkpoint.get("a/weight", {3, 2});
            }),
            "f: tensor 'a/weight': expected shape [3, 2], found [2, 3]");
}

}  // namespace
}  // namespace runnel::engine
