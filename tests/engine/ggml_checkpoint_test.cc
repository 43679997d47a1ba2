#include "engine/ggml_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "tests/engine/ggml_bytes.h"

namespace runnel::engine {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using testing::Bytes;
using testing::error_of;
using testing::ggml_start;
using testing::ggml_tensor;
using testing::ggml_values;
using ::testing::HasSubstr;

constexpr GgmlType kQuantised[] = {GgmlType::kQ4_0, GgmlType::kQ4_1, GgmlType::kQ5_0,
                                   GgmlType::kQ5_1, GgmlType::kQ8_0};

/// All fields different, so that none is taken for another.
GgmlHeader header(std::int32_t file_type = 2002) {
  return {1, 2, 3, 4, 5, 6, 7, 8, 9, 2, file_type};
}

const std::vector<std::string> kVocabulary = {"a", "", "\xc4\xa0t"};

std::vector<float> wave(std::size_t size) {
  std::vector<float> values(size);
  for (std::size_t i = 0; i < size; ++i) {
    values[i] = std::sin(float(i) * 0.7f) * float(1 + i / 32) + 0.1f;
  }
  return values;
}

Bytes two_tensors() {
  Bytes file = ggml_start(header(), kVocabulary, 3);
  const std::vector<float> plain = {1.5f, -2, 3};
  file.append(ggml_tensor("b", GgmlType::kF32, {3, 1}, ggml_values(GgmlType::kF32, plain)));
  file.append(ggml_tensor("w", GgmlType::kQ4_0, {2, 32}, ggml_values(GgmlType::kQ4_0, wave(64))));
  return file;
}

std::string parse_error(const Bytes& file) {
  return error_of([&] { GgmlCheckpoint::borrow(file, "f"); });
}

TEST(GgmlCheckpoint, ReadsHeaderVocabularyAndTensors) {
  const Bytes file = two_tensors();
  const auto checkpoint = GgmlCheckpoint::borrow(file, "f");
  EXPECT_EQ(checkpoint.header().vocab_size, 1);
  EXPECT_EQ(checkpoint.header().audio_ctx, 2);
  EXPECT_EQ(checkpoint.header().audio_dim, 3);
  EXPECT_EQ(checkpoint.header().audio_heads, 4);
  EXPECT_EQ(checkpoint.header().audio_layers, 5);
  EXPECT_EQ(checkpoint.header().text_ctx, 6);
  EXPECT_EQ(checkpoint.header().text_dim, 7);
  EXPECT_EQ(checkpoint.header().text_heads, 8);
  EXPECT_EQ(checkpoint.header().text_layers, 9);
  EXPECT_EQ(checkpoint.header().mel_bins, 2);
  EXPECT_EQ(checkpoint.header().file_type, 2002);
  EXPECT_THAT(checkpoint.vocabulary(), ::testing::ElementsAreArray(kVocabulary));
  EXPECT_EQ(checkpoint.tensors().size(), 2u);
  EXPECT_EQ(checkpoint.get("w", {2, 32}).type, GgmlType::kQ4_0);
  std::vector<float> values(2);
  checkpoint.read("b", 1, values);
  EXPECT_EQ(values, (std::vector<float>{-2, 3}));
}

TEST(GgmlCheckpoint, TakesABiasOfAConvolutionAsOneDimension) {
  const Bytes file = two_tensors();
  const auto checkpoint = GgmlCheckpoint::borrow(file, "f");
  EXPECT_EQ(checkpoint.get("b", {3}).shape, (Shape{3, 1}));
  EXPECT_EQ(checkpoint.get("b", {3, 1}).shape, (Shape{3, 1}));
  EXPECT_EQ(error_of([&] {
              checkpoint.get("b", {1, 3});
            }),
            "f: tensor 'b': expected shape [1, 3], found [3, 1]");
}

// Blocks by hand, so that the builder in ggml_bytes.h and the reader cannot share a mistake.
TEST(GgmlBlocks, FollowTheLayoutsOfGgml) {
  const auto dequantised = [](GgmlType type, const Bytes& block) {
    EXPECT_EQ(block.size(), block_bytes(type));
    std::vector<float> values(32);
    dequantise(type, block, 0, values);
    return values;
  };
  const auto bytes = [](Bytes block) {  // low half of byte j: j, high half: 15 − j
    for (unsigned j = 0; j < 16; ++j) block.number(j | (15 - j) << 4, 1);
    return block;
  };
  const std::uint64_t half = 0x3800, minus_two = 0xC000, fifth = 0x80000001;
  const auto q4_0 = dequantised(GgmlType::kQ4_0, bytes(Bytes().number(half, 2)));
  const auto q4_1 =
      dequantised(GgmlType::kQ4_1, bytes(Bytes().number(half, 2).number(minus_two, 2)));
  const auto q5_0 = dequantised(GgmlType::kQ5_0, bytes(Bytes().number(half, 2).number(fifth, 4)));
  const auto q5_1 = dequantised(
      GgmlType::kQ5_1, bytes(Bytes().number(half, 2).number(minus_two, 2).number(fifth, 4)));
  for (int j = 0; j < 32; ++j) {
    const int code = j < 16 ? j : 31 - j;
    const int wide = code + (j == 0 || j == 31 ? 16 : 0);
    EXPECT_EQ(q4_0[std::size_t(j)], 0.5f * float(code - 8)) << j;
    EXPECT_EQ(q4_1[std::size_t(j)], 0.5f * float(code) - 2) << j;
    EXPECT_EQ(q5_0[std::size_t(j)], 0.5f * float(wide - 16)) << j;
    EXPECT_EQ(q5_1[std::size_t(j)], 0.5f * float(wide) - 2) << j;
  }
  Bytes block = Bytes().number(half, 2);
  for (int j = 0; j < 32; ++j) block.number(std::uint8_t(j * 8 - 128), 1);
  const auto q8_0 = dequantised(GgmlType::kQ8_0, block);
  for (int j = 0; j < 32; ++j) EXPECT_EQ(q8_0[std::size_t(j)], 0.5f * float(j * 8 - 128)) << j;
}

TEST(GgmlBlocks, AnyPartReadsTheSameValues) {
  const std::vector<float> values = wave(96);
  for (const GgmlType type : {GgmlType::kF32, GgmlType::kF16, GgmlType::kQ4_0, GgmlType::kQ4_1,
                              GgmlType::kQ5_0, GgmlType::kQ5_1, GgmlType::kQ8_0}) {
    const Bytes run = ggml_values(type, values);
    std::vector<float> all(values.size());
    dequantise(type, run, 0, all);
    for (std::size_t first = 0; first <= values.size(); ++first) {
      for (std::size_t count = 0; count <= values.size() - first; count += 5) {
        std::vector<float> part(count);
        dequantise(type, run, first, part);
        ASSERT_TRUE(std::equal(part.begin(), part.end(), all.begin() + std::ptrdiff_t(first)))
            << name(type) << " " << first << " " << count;
      }
    }
  }
}

TEST(GgmlBlocks, StayWithinHalfAStepOfTheValues) {
  const std::vector<float> values = wave(320);
  for (const GgmlType type : kQuantised) {
    std::vector<float> back(values.size());
    dequantise(type, ggml_values(type, values), 0, back);
    const bool five = type == GgmlType::kQ5_0 || type == GgmlType::kQ5_1;
    const float steps = type == GgmlType::kQ8_0 ? 127 : five ? 15 : 7;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const float extreme = float(1 + i / 32) + 0.1f;
      EXPECT_NEAR(back[i], values[i], 0.52f * extreme / steps) << name(type) << " " << i;
    }
  }
}

TEST(GgmlCheckpoint, RefusesAFileTruncatedAtAnyByte) {
  const Bytes whole = two_tensors();
  const std::size_t start = ggml_start(header(), kVocabulary, 3).size();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const Bytes part{std::vector<std::byte>(whole.content.begin(),
                                            whole.content.begin() + std::ptrdiff_t(size))};
    // Between tensors a file may end.
    if (size == start || size == start + 5 * 4 + 1 + 12) continue;
    const std::string error = parse_error(part);
    EXPECT_THAT(error, AnyOf(HasSubstr("truncated"), HasSubstr("tokens of the vocabulary")))
        << size;
    EXPECT_EQ(error.find('\n'), std::string::npos);
  }
}

TEST(GgmlCheckpoint, ErrorsSayWhatWasExpectedAndFound) {
  EXPECT_EQ(parse_error(Bytes().text("GGUF").number(0, 60)),
            "f: expected the magic of a ggml file, found another format");
  EXPECT_THAT(parse_error(Bytes()), HasSubstr("f: expected 4 bytes of magic at byte 0, found 0"));
  const auto with = [](std::string_view tensor_name, std::int32_t type, const Shape& shape,
                       std::int32_t file_type = 2002) {
    Bytes file = ggml_start(header(file_type), kVocabulary, 3);
    return parse_error(file.append(ggml_tensor(tensor_name, GgmlType(type), shape, {})));
  };
  EXPECT_EQ(with("t", 10, {32}),
            "f: tensor 't': type: expected f32, f16, q4_0, q4_1, q5_0, q5_1 or q8_0, found 10");
  EXPECT_EQ(with("t", -1, {32}),
            "f: tensor 't': type: expected f32, f16, q4_0, q4_1, q5_0, q5_1 or q8_0, found -1");
  EXPECT_EQ(with("t", 2, {33}),
            "f: tensor 't': row of q4_0: expected a multiple of 32 values, found 33");
  EXPECT_EQ(with("t", 2, {32}, 1002),
            "f: tensor 't': version of the quantisation: expected 2, found 1");
  EXPECT_EQ(with("t", 0, {-1}), "f: tensor 't': impossible shape [-1]");
  const std::int64_t huge = std::numeric_limits<std::int32_t>::max();
  EXPECT_THAT(with("t", 0, {huge, huge, huge}), HasSubstr("impossible shape"));
  EXPECT_THAT(with("t", 0, {2, huge}), HasSubstr("of tensor 't' of shape [2, 2147483647]"));
  EXPECT_THAT(with("t", 0, {}), HasSubstr("dimensions of a tensor: expected 1 to 4, found 0"));
  EXPECT_THAT(with("t", 0, {1, 1, 1, 1, 1}), HasSubstr("expected 1 to 4, found 5"));
  EXPECT_THAT(with("", 0, {1}), HasSubstr("bytes of a tensor's name: expected 1 to 256, found 0"));
  EXPECT_THAT(with("a\nb", 10, {1}), HasSubstr("tensor 'a?b'"));
}

TEST(GgmlCheckpoint, RefusesHostileCounts) {
  Bytes mel = Bytes().number(0x67676d6c, 4);
  mel.content.resize(48);
  EXPECT_THAT(parse_error(Bytes(mel).number(0x7FFFFFFF, 4).number(0x7FFFFFFF, 4)),
              HasSubstr("bytes of mel filters"));
  EXPECT_THAT(parse_error(Bytes(mel).number(0xFFFFFFFF, 4).number(0xFFFFFFFF, 4)),
              HasSubstr("rows of the mel filters: expected at least 0, found -1"));
  const Bytes vocabulary = Bytes(mel).number(0, 8);
  EXPECT_THAT(parse_error(Bytes(vocabulary).number(0x7FFFFFFF, 4)),
              HasSubstr("tokens of the vocabulary: expected 0 to 0, found 2147483647"));
  EXPECT_THAT(parse_error(Bytes(vocabulary).number(0xFFFFFFFF, 4)), HasSubstr("found -1"));
  EXPECT_THAT(parse_error(Bytes(vocabulary).number(1, 4).number(0xFFFFFFFF, 4)),
              HasSubstr("expected 4294967295 bytes of token 0"));
}

TEST(GgmlCheckpoint, AValueThatIsNotFiniteIsToldWithItsTensorAndPlace) {
  struct Case {
    GgmlType type;
    std::size_t at;  // of the bad half (or float) in the second block
    const char* element;
  };
  for (const Case& c :
       {Case{GgmlType::kF32, 0, "at element 1"}, Case{GgmlType::kF16, 0, "at element 1"},
        Case{GgmlType::kQ4_0, 0, "at element 32"}, Case{GgmlType::kQ4_1, 0, "at element 32"},
        Case{GgmlType::kQ4_1, 2, "at element 32"}, Case{GgmlType::kQ5_0, 0, "at element 32"},
        Case{GgmlType::kQ5_1, 2, "at element 32"}, Case{GgmlType::kQ8_0, 0, "at element 32"}}) {
    Bytes values = ggml_values(c.type, wave(64));
    const bool single = c.type == GgmlType::kF32;
    const Bytes nan = Bytes().number(single ? 0x7fc00000 : 0x7e00, single ? 4 : 2);
    std::ranges::copy(nan.content,
                      values.content.begin() + std::ptrdiff_t(block_bytes(c.type) + c.at));
    Bytes file = ggml_start(header(), kVocabulary, 3);
    file.append(ggml_tensor("w", c.type, {2, 32}, values));
    const auto checkpoint = GgmlCheckpoint::borrow(file, "f.bin");
    std::vector<float> out(64);
    const std::string said = error_of([&] { checkpoint.read("w", 0, out); });
    EXPECT_THAT(said, HasSubstr("f.bin: tensor 'w': expected finite values, found NaN "));
    EXPECT_THAT(said, HasSubstr(c.element)) << name(c.type);
  }
}

TEST(GgmlCheckpoint, RefusesATensorTwice) {
  Bytes file = two_tensors();
  file.append(ggml_tensor("b", GgmlType::kF32, {1}, Bytes().number(0, 4)));
  EXPECT_EQ(parse_error(file), "f: tensor 'b': found twice");
}

TEST(GgmlCheckpoint, ReadsNothingBeyondATensor) {
  const Bytes file = two_tensors();
  const auto checkpoint = GgmlCheckpoint::borrow(file, "f");
  std::vector<float> values(2);
  EXPECT_EQ(error_of([&] { checkpoint.read("b", 2, values); }),
            "f: tensor 'b': expected 2 elements from 2 on, found 3 in all");
  EXPECT_THAT(error_of([&] { checkpoint.read("b", -1, values); }), HasSubstr("from -1 on"));
  EXPECT_EQ(error_of([&] { checkpoint.read("c", 0, values); }), "f: tensor 'c' is missing");
  EXPECT_EQ(error_of([&] { checkpoint.get("c", {4}); }), "f: tensor 'c' of shape [4] is missing");
}

}  // namespace
}  // namespace runnel::engine
