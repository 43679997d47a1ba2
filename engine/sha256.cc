#include "engine/sha256.h"

#include <algorithm>
#include <cstring>

#include "engine/mapped_file.h"

namespace runnel::engine {

void Sha256::add(std::span<const std::byte> bytes) noexcept {
  if (bytes.empty()) return;
  const std::size_t held = count_ % kBlock;
  count_ += bytes.size();
  if (held > 0) {
    const std::size_t taken = std::min(kBlock - held, bytes.size());
    std::memcpy(pending_.data() + held, bytes.data(), taken);
    bytes = bytes.subspan(taken);
    if (held + taken < kBlock) return;
    add_blocks_(pending_.data(), 1, state_.data());
  }
  const std::size_t whole = bytes.size() / kBlock;
  add_blocks_(bytes.data(), whole, state_.data());
  bytes = bytes.subspan(whole * kBlock);
  std::copy(bytes.begin(), bytes.end(), pending_.begin());
}

std::string Sha256::finish() {
  const std::uint64_t bits = 8 * count_;
  // A one bit, zeros up to 8 bytes before a block's end, then the length.
  std::array<std::byte, kBlock + 8> end{};
  end[0] = std::byte(0x80);
  const std::size_t zeros = (2 * kBlock - 9 - count_ % kBlock) % kBlock;
  for (int i = 0; i < 8; ++i) end[1 + zeros + std::size_t(i)] = std::byte(bits >> (56 - 8 * i));
  add({end.data(), 1 + zeros + 8});
  std::string digits;
  for (const std::uint32_t word : state_) {
    for (int shift = 28; shift >= 0; shift -= 4) digits += "0123456789abcdef"[word >> shift & 15];
  }
  return digits;
}

std::string sha256_of_file(const std::filesystem::path& path) {
  constexpr std::size_t kPiece = 1 << 20;
  const MappedFile file(path);
  Sha256 hash;
  for (std::size_t at = 0; at < file.bytes().size(); at += kPiece) {
    const auto piece = file.bytes().subspan(at, std::min(kPiece, file.bytes().size() - at));
    hash.add(piece);
    file.release_behind(piece);
  }
  return hash.finish();
}

}  // namespace runnel::engine
