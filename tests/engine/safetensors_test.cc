#include "engine/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/engine/bytes.h"

namespace runnel::engine {
namespace {

using ::testing::AllOf;
using testing::Bytes;
using testing::error_of;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::safetensors;

std::string error(const Bytes& file) {
  return error_of([&] { parse_safetensors(file); });
}

/// One tensor `w` with these fields over 24 bytes of data.
std::string error_of_fields(const std::string& fields) {
  return error(safetensors("{\"w\":{" + fields + "}}", 24));
}

TEST(Safetensors, ReadsNamesTypesShapesAndBytes) {
  Bytes file = safetensors(R"({"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},)"
                           R"("b":{"dtype":"BF16","shape":[],"data_offsets":[8,10]},)"
                           R"("none":{"dtype":"I64","shape":[0,7],"data_offsets":[10,10]}})",
                           0);
  const std::size_t data = file.size();
  file.number(0x3F800000, 4).number(0xC0000000, 4).number(0x4040, 2);
  const auto tensors = parse_safetensors(file);
  ASSERT_EQ(tensors.size(), 3U);
  EXPECT_EQ(tensors[0].name, "a");
  EXPECT_EQ(tensors[0].dtype, DType::kF32);
  EXPECT_EQ(tensors[0].shape, (Shape{2, 1}));
  EXPECT_EQ(tensors[0].bytes.data(), file.content.data() + data) << "borrowed, not copied";
  EXPECT_EQ(tensors[0].bytes.size(), 8U);
  EXPECT_EQ(tensors[1].dtype, DType::kBF16);
  EXPECT_EQ(tensors[1].shape, Shape{});
  EXPECT_EQ(tensors[1].bytes.size(), 2U);
  EXPECT_EQ(tensors[2].bytes.size(), 0U);
}

TEST(Safetensors, IgnoresMetadataAndUnknownKeys) {
  const auto tensors = parse_safetensors(
      safetensors(R"({"__metadata__":{"format":"pt"},)"
                  R"("w":{"dtype":"I8","shape":[3],"data_offsets":[0,3],"made_by":["x",{"y":1}]}})",
                  3));
  ASSERT_EQ(tensors.size(), 1U);
  EXPECT_EQ(tensors[0].name, "w");
}

TEST(Safetensors, RefusesTruncation) {
  const Bytes whole = safetensors(R"({"w":{"dtype":"F32","shape":[6],"data_offsets":[0,24]}})", 24);
  EXPECT_THAT(error(whole), IsEmpty());
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const Bytes part{{whole.content.begin(), whole.content.begin() + std::ptrdiff_t(size)}};
    EXPECT_THAT(error(part), Not(IsEmpty())) << size;
  }
}

TEST(Safetensors, RefusesAHeaderThatDoesNotFit) {
  EXPECT_THAT(error(Bytes().number(~0ULL, 8).text("{}")), HasSubstr("18446744073709551615 bytes"));
  EXPECT_THAT(error(Bytes().number(3, 8).text("{}")), HasSubstr("does not fit"));
  EXPECT_THAT(error(safetensors("[]", 0)), HasSubstr("not a JSON object"));
  EXPECT_THAT(error(safetensors("{\"a\":", 0)), HasSubstr("not a JSON object"));
}

TEST(Safetensors, RefusesAHugeHeaderBeforeReadingIt) {
  Bytes file = Bytes().number(100'000'001, 8);
  file.content.resize(8 + 100'000'001);
  EXPECT_THAT(error(file), HasSubstr("at most 100000000"));
}

TEST(Safetensors, ErrorLinesNameTheTensor) {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {R"("dtype":"F31","shape":[6],"data_offsets":[0,24])", "unknown dtype 'F31'"},
      {R"("dtype":"F32","shape":[6])", "expected dtype, shape and data_offsets"},
      {R"("dtype":32,"shape":[6],"data_offsets":[0,24])", "expected dtype"},
      {R"("dtype":"F32","shape":[6],"data_offsets":[0,24,25])", "[begin, end]"},
      {R"("dtype":"F32","shape":[6],"data_offsets":[4,28])", "[4, 28] lie outside the 24 bytes"},
      {R"("dtype":"F32","shape":[6],"data_offsets":[24,0])", "[24, 0] lie outside"},
      {R"("dtype":"F32","shape":[6],"data_offsets":[-4,20])", "not whole numbers"},
      {R"("dtype":"F32","shape":[0.5],"data_offsets":[0,24])", "not a whole number"},
      {R"("dtype":"F32","shape":[-6],"data_offsets":[0,24])", "not a whole number"},
      {R"("dtype":"F32","shape":[7],"data_offsets":[0,24])", "[7] of F32 does not fit its 24"},
      {R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0])", "does not fit"},
      {R"("dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0])", "does not fit"},
      {R"("dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,24])", "does not fit"},
  };
  for (const auto& [fields, what] : cases) {
    EXPECT_THAT(error_of_fields(fields), AllOf(HasSubstr("tensor 'w'"), HasSubstr(what)));
  }
  EXPECT_THAT(error(safetensors(R"({"w":7})", 0)), HasSubstr("tensor 'w'"));
}

TEST(Safetensors, RefusesOverlappingTensors) {
  EXPECT_THAT(error(safetensors(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                                R"("b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
                                12)),
              AllOf(HasSubstr("tensor 'b'"), HasSubstr("overlap those of 'a'")));
}

TEST(Safetensors, SurvivesDeepNesting) {
  EXPECT_THAT(error(safetensors("{\"w\":" + std::string(1'000'000, '['), 0)), Not(IsEmpty()));
}

}  // namespace
}  // namespace runnel::engine
