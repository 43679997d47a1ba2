#include "engine/zip_archive.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/engine/bytes.h"

namespace runnel::engine {
namespace {

using testing::Bytes;
using testing::error_of;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::Zip;

std::string text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string error(const Bytes& file) {
  return error_of([&] { parse_zip(file); });
}

TEST(ZipArchive, ReadsStoredEntries) {
  const Bytes file =
      Zip().add({"x/data.pkl"}, Bytes().text("hello")).add({"x/empty"}, Bytes()).finish();
  const ZipEntries entries = parse_zip(file);
  ASSERT_EQ(entries.size(), 2U);
  EXPECT_EQ(text(entries.at("x/data.pkl")), "hello");
  EXPECT_EQ(text(entries.at("x/empty")), "");
}

TEST(ZipArchive, FindsTheDirectoryBeforeAComment) {
  Bytes file = Zip().add({"a"}, Bytes().text("b")).finish();
  file.content.resize(file.size() - 2);
  file.number(300, 2).text(std::string(300, 'c'));
  EXPECT_EQ(text(parse_zip(file).at("a")), "b");
}

TEST(ZipArchive, ReadsZip64Records) {
  Zip zip{.zip64 = true};
  const Bytes file = zip.add({"a"}, Bytes().text("first")).add({"b"}, Bytes().text("2")).finish();
  const ZipEntries entries = parse_zip(file);
  EXPECT_EQ(text(entries.at("a")), "first");
  EXPECT_EQ(text(entries.at("b")), "2");
}

TEST(ZipArchive, RefusesCompressedEntriesByName) {
  const Bytes file = Zip().add({"x/data/0", 8}, Bytes().text("deflated")).finish();
  EXPECT_THAT(error(file), HasSubstr("entry 'x/data/0' is compressed"));
}

TEST(ZipArchive, TellsDeflatedEntriesFromStoredOnes) {
  const Bytes file =
      Zip().add({"a/data", 8}, Bytes().text("deflated")).add({"b"}, Bytes().text("2")).finish();
  const auto entries = parse_zip_entries(file);
  EXPECT_TRUE(entries.at("a/data").deflated);
  EXPECT_EQ(text(entries.at("a/data").data), "deflated");
  EXPECT_FALSE(entries.at("b").deflated);
  EXPECT_EQ(entries.at("b").size, 1U);
  EXPECT_THAT(error(Zip().add({"c", 12}, Bytes().text("bzip2")).finish()),
              HasSubstr("entry 'c' is compressed in a way that is not known here"));
}

TEST(ZipArchive, RefusesTruncation) {
  for (const bool zip64 : {false, true}) {
    const Bytes whole = Zip{.zip64 = zip64}.add({"a"}, Bytes().text("content")).finish();
    for (std::size_t size = 0; size < whole.size(); ++size) {
      const Bytes part{{whole.content.begin(), whole.content.begin() + std::ptrdiff_t(size)}};
      EXPECT_THAT(error(part), Not(IsEmpty())) << size;
      // Without the start the offsets point elsewhere.
      const Bytes rest{{whole.content.begin() + std::ptrdiff_t(size) + 1, whole.content.end()}};
      EXPECT_THAT(error(rest), Not(IsEmpty())) << size;
    }
  }
}

TEST(ZipArchive, RefusesADirectoryThatLiesOutside) {
  Bytes file = Zip().add({"a"}, Bytes().text("b")).finish();
  for (int i = 0; i < 4; ++i) file.content[file.size() - 6 + std::size_t(i)] = std::byte{0xFE};
  EXPECT_THAT(error(file), HasSubstr("ends too early"));
}

}  // namespace
}  // namespace runnel::engine
