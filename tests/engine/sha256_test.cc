#include "engine/sha256.h"

#include <gtest/gtest.h>

#include <string>

namespace runnel::engine {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::string sha256(std::string_view text, Isa isa = Isa::kGeneric) {
  Sha256 hash(isa);
  hash.add(bytes_of(text));
  return hash.finish();
}

TEST(Sha256, AgreesWithTheStandardsExamples) {
  for (const Isa isa : supported_isas()) {
    EXPECT_EQ(sha256("", isa), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    EXPECT_EQ(sha256("abc", isa),
              "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    EXPECT_EQ(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", isa),
              "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    EXPECT_EQ(sha256(std::string(1'000'000, 'a'), isa),
              "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  }
}

TEST(Sha256, AnyPiecesGiveTheSame) {
  std::string text;
  for (int i = 0; i < 300; ++i) text += char(i * 7);
  for (std::size_t size = 0; size <= text.size(); ++size) {
    const std::string_view all = std::string_view(text).substr(0, size);
    for (const std::size_t piece : {1, 63, 64, 65, 130}) {
      Sha256 hash;
      for (std::size_t at = 0; at < size; at += piece) hash.add(bytes_of(all.substr(at, piece)));
      ASSERT_EQ(hash.finish(), sha256(all)) << size << " in pieces of " << piece;
    }
  }
}

}  // namespace
}  // namespace runnel::engine
