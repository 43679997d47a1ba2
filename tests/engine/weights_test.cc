#include "engine/weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>

#include "engine/float_conversion.h"
#include "tests/engine/bytes.h"

namespace runnel::engine {
namespace {

using ::testing::AllOf;
using testing::Bytes;
using testing::error_of;
using ::testing::HasSubstr;
using testing::safetensors;

/// All 65536 words of a 16-bit type as float.
std::vector<float> every_word(DType dtype) {
  Bytes words;
  for (std::uint64_t word = 0; word < 65536; ++word) words.number(word, 2);
  std::vector<float> values(65536);
  to_float(dtype, words.content.data(), values);
  return values;
}

TEST(Weights, ConvertsEveryHalfExactly) {
  const std::vector<float> values = every_word(DType::kF16);
  for (int word = 0; word < 65536; ++word) {
    const int exponent = word >> 10 & 31, mantissa = word & 1023;
    const float sign = word & 0x8000 ? -1.f : 1.f, value = values[std::size_t(word)];
    if (exponent == 31 && mantissa) {
      EXPECT_TRUE(std::isnan(value)) << word;
    } else if (exponent == 31) {
      EXPECT_EQ(value, sign * std::numeric_limits<float>::infinity());
    } else if (exponent == 0) {  // zero and subnormals
      EXPECT_EQ(value, sign * std::ldexp(float(mantissa), -24)) << word;
      EXPECT_EQ(std::signbit(value), sign < 0) << word;
    } else {
      EXPECT_EQ(value, sign * std::ldexp(float(1024 + mantissa), exponent - 25)) << word;
    }
  }
}

TEST(Weights, ConvertsEveryBfloat16Exactly) {
  const std::vector<float> values = every_word(DType::kBF16);
  for (std::uint32_t word = 0; word < 65536; ++word) {
    EXPECT_EQ(std::bit_cast<std::uint32_t>(values[word]), word << 16);
  }
}

TEST(Weights, AValueThatIsNotFiniteIsToldWithItsTensorAndPlace) {
  struct Case {
    const char* dtype;
    int width;
    std::uint64_t word;
    const char* found;
  };
  for (const Case& c :
       {Case{"F32", 4, 0x7fc00000, "NaN"}, Case{"F32", 4, 0xff800001, "NaN"},
        Case{"F32", 4, 0x7f7f8000, "3.39618e+38, infinite as bfloat16,"},
        Case{"F32", 4, 0xff7fffff, "-3.40282e+38, infinite as bfloat16,"},
        Case{"F32", 4, 0x7f800000, "infinity"}, Case{"F32", 4, 0xff800000, "-infinity"},
        Case{"F16", 2, 0x7c00, "infinity"}, Case{"F16", 2, 0x7e01, "NaN"},
        Case{"BF16", 2, 0xff80, "-infinity"}, Case{"BF16", 2, 0x7f81, "NaN"},
        // 1e300, beyond a float
        Case{"F64", 8, 0x7e37e43c8800759c, "infinity"}}) {
    constexpr int kCount = 37;
    for (int bad = 0; bad < kCount; ++bad) {
      const std::string bytes = std::to_string(kCount * c.width);
      Bytes file = safetensors("{\"some.weight\":{\"dtype\":\"" + std::string(c.dtype) +
                                   "\",\"shape\":[37],\"data_offsets\":[0," + bytes + "]}}",
                               0);
      for (int i = 0; i < kCount; ++i) file.number(i == bad ? c.word : 0, c.width);
      const Weights weights = Weights::borrow(file, "m.safetensors");
      EXPECT_EQ(error_of([&] { weights.floats("some.weight", {kCount}); }),
                "m.safetensors: tensor 'some.weight': expected finite values, found " +
                    std::string(c.found) + " at element " + std::to_string(bad));
      // A part is refused for its own values alone.
      std::vector<float> part(kCount / 2);
      const std::int64_t first = bad < kCount / 2 ? kCount / 2 : 0;
      EXPECT_EQ(error_of([&] { weights.read("some.weight", first, part); }), "");
      EXPECT_THAT(error_of([&] { weights.read("some.weight", bad, std::span(part).first(1)); }),
                  HasSubstr("at element " + std::to_string(bad)));
    }
  }
}

TEST(Weights, LargeAndTinyValuesAreFinite) {
  Bytes file = safetensors(R"({"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})", 0);
  const auto largest = std::bit_cast<float>(0x7f7f7fffu);  // that bfloat16 rounds down
  for (const float x : {largest, -largest, std::numeric_limits<float>::denorm_min(), -0.0f}) {
    file.number(std::bit_cast<std::uint32_t>(x), 4);
  }
  EXPECT_EQ(Weights::borrow(file, "m").floats("w", {4})[0], largest);
}

TEST(Weights, ReadsUnalignedFloats) {
  // 33 bytes of header: the data begins at an odd address.
  Bytes file = safetensors(R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}} )", 0);
  file.number(std::bit_cast<std::uint32_t>(1.5f), 4).number(std::bit_cast<std::uint32_t>(-2.f), 4);
  EXPECT_EQ(Weights::borrow(file, "w").floats("w", {2}), (std::vector<float>{1.5f, -2.f}));
}

TEST(Weights, ErrorsNameFileTensorAndShapes) {
  const Bytes file =
      safetensors(R"({"w":{"dtype":"I32","shape":[2,3],"data_offsets":[0,24]}})", 24);
  const Weights weights = Weights::borrow(file, "here");
  EXPECT_TRUE(weights.contains("w"));
  EXPECT_EQ(error_of([&] {
              weights.get("w", {3, 2});
            }),
            "here: tensor 'w': expected shape [3, 2], found [2, 3]");
  EXPECT_EQ(error_of([&] { weights.get("v", {1}); }), "here: tensor 'v' of shape [1] is missing");
  EXPECT_EQ(error_of([&] {
              weights.floats("w", {2, 3});
            }),
            "here: tensor 'w': expected floats, found I32");
}

TEST(Weights, ErrorsNameAFileThatCannotBeRead) {
  EXPECT_THAT(error_of([] { Weights::open("no/such.file"); }),
              AllOf(HasSubstr("no/such.file"), HasSubstr("No such file")));
  EXPECT_THAT(error_of([] { Weights::open("tests"); }), HasSubstr("expected model.safetensors"));
  EXPECT_THAT(error_of([] { Weights::borrow({}, "nothing"); }),
              AllOf(HasSubstr("nothing"), HasSubstr("found 0 bytes")));
}

TEST(Weights, ReadsAnyPartOfATensorAsFloat) {
  // All positive halves.
  Bytes words = safetensors(R"({"w":{"dtype":"F16","shape":[31744],"data_offsets":[0,63488]}})", 0);
  for (std::uint64_t word = 0; word < 31744; ++word) words.number(word, 2);
  const Weights weights = Weights::borrow(words, "f16");
  const auto all = weights.floats("w", {31744});
  for (const std::size_t first : {0, 1, 77, 31727}) {
    std::vector<float> part(17);
    weights.read("w", std::int64_t(first), part);
    for (std::size_t i = 0; i < part.size(); ++i) {
      EXPECT_EQ(std::bit_cast<std::uint32_t>(part[i]),
                std::bit_cast<std::uint32_t>(all[first + i]));
    }
  }
  std::vector<float> part(17);
  EXPECT_EQ(error_of([&] { weights.read("w", 31728, part); }),
            "f16: tensor 'w': expected 17 elements from 31728 on, found 31744 in all");
  EXPECT_EQ(error_of([&] { weights.read("v", 0, part); }), "f16: tensor 'v' is missing");
}

/// A folder that goes with the test.
class WeightsFolder : public ::testing::Test {
 protected:
  WeightsFolder() {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::temp_directory_path() /
              ("runnel-" + std::to_string(::getpid()) + "-" + test->name());
    std::filesystem::create_directories(folder_);
  }
  ~WeightsFolder() override { std::filesystem::remove_all(folder_); }

  void write(const std::string& file, std::span<const std::byte> content) const {
    std::ofstream stream(folder_ / file, std::ios::binary);
    stream.write(reinterpret_cast<const char*>(content.data()), std::streamsize(content.size()));
  }
  void write_shard(const std::string& file, const std::string& tensor, float value) const {
    const std::string header =
        "{\"" + tensor + R"(":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
    write(file, safetensors(header, 0).number(std::bit_cast<std::uint32_t>(value), 4));
  }
  void write_index(std::string_view weight_map) const {
    write("model.safetensors.index.json",
          Bytes().text(R"({"metadata":{"total_size":8},"weight_map":)").text(weight_map).text("}"));
  }
  std::string error() const {
    return error_of([&] { Weights::open(folder_); });
  }

  std::filesystem::path folder_;
};

TEST_F(WeightsFolder, OfShardsIsOneSetOfTensors) {
  write_shard("one.safetensors", "a", 1.5f);
  write_shard("two.safetensors", "b", -2);
  write_index(R"({"a":"one.safetensors","b":"two.safetensors"})");
  for (const auto& path : {folder_, folder_ / "model.safetensors.index.json"}) {
    const Weights weights = Weights::open(path);
    EXPECT_EQ(weights.tensors().size(), 2u);
    EXPECT_EQ(weights.floats("a", {1}), std::vector<float>{1.5f});
    EXPECT_EQ(weights.floats("b", {1}), std::vector<float>{-2});
    EXPECT_THAT(error_of([&] { weights.get("c", {1}); }), HasSubstr("index.json: tensor 'c'"));
  }
}

TEST_F(WeightsFolder, PrefersTheSingleFile) {
  write_shard("model.safetensors", "a", 3);
  write_index(R"({"a":"one.safetensors"})");
  EXPECT_EQ(Weights::open(folder_).floats("a", {1}), std::vector<float>{3});
}

TEST_F(WeightsFolder, ErrorsNameShardAndTensor) {
  EXPECT_THAT(error(), HasSubstr("expected model.safetensors or pytorch_model.bin in it"));
  write_shard("one.safetensors", "a", 1.5f);
  write_index(R"({"a":"one.safetensors","b":"two.safetensors"})");
  EXPECT_THAT(error(), AllOf(HasSubstr("two.safetensors"), HasSubstr("No such file")));
  write_index(R"({"a":"one.safetensors","b":"one.safetensors"})");
  EXPECT_THAT(error(), HasSubstr("one.safetensors: tensor 'b' is missing (expected by"));
  write_shard("two.safetensors", "a", 1.5f);
  write_index(R"({"a":"one.safetensors","b":"two.safetensors"})");
  EXPECT_THAT(error(), AllOf(HasSubstr("two.safetensors: tensor 'a': "),
                             HasSubstr("expects it in one.safetensors, found here")));
  write("two.safetensors", Bytes().text("junk"));
  EXPECT_THAT(error(), HasSubstr("two.safetensors: expected a safetensors header"));
}

TEST_F(WeightsFolder, APipeIsRefusedWithoutWaitingForAWriter) {
  const auto fifo = folder_ / "model.safetensors";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_EQ(error_of([&] { Weights::open(folder_); }),
            fifo.string() + ": expected a file, found something else");
}

TEST_F(WeightsFolder, AnIndexReachesNothingOutsideItsFolder) {
  for (const std::string_view map : {R"({"a":"../one.safetensors"})", R"({"a":"/etc/passwd"})",
                                     R"({"a":".."})", R"({"a":""})", R"({"a":7})"}) {
    write_index(map);
    EXPECT_THAT(error(), HasSubstr("weight_map of 'a': expected the name of a file in the same"));
  }
  write_index(R"({"a":"model.safetensors.index.json"})");  // itself
  EXPECT_THAT(error(), HasSubstr("safetensors header"));
  for (const std::string_view map : {"{}", "[]", "1"}) {
    write_index(map);
    EXPECT_THAT(error(), HasSubstr("index.json: expected a JSON object with a 'weight_map'"));
  }
}

/// Resident pages of files, in MB.
double resident_file_mb() {
  std::ifstream statm("/proc/self/statm");
  double size = 0, resident = 0, shared = 0;
  statm >> size >> resident >> shared;
  return shared * double(::sysconf(_SC_PAGESIZE)) * 1e-6;
}

TEST_F(WeightsFolder, ReadingALargeTensorKeepsLittleResident) {
  constexpr std::int64_t kRows = 6000, kColumns = 2048;  // 49 MB
  const std::string header = R"({"w":{"dtype":"F32","shape":[6000,2048],"data_offsets":[0,)" +
                             std::to_string(kRows * kColumns * 4) + "]}}";
  write("model.safetensors", safetensors(header, std::size_t(kRows * kColumns * 4)));
  const Weights weights = Weights::open(folder_);
  const double before = resident_file_mb();
  std::vector<float> row(kColumns);
  double peak = 0;
  for (std::int64_t r = 0; r < kRows; ++r) {
    weights.read("w", r * kColumns, row);
    ASSERT_EQ(row[0], 0);
    if (r % 100 == 0) peak = std::max(peak, resident_file_mb());
  }
  EXPECT_LT(peak - before, 12);
  weights.release("w");
  EXPECT_LT(resident_file_mb() - before, 1);
  weights.read("w", 0, row);  // and it is still there
}

}  // namespace
}  // namespace runnel::engine
