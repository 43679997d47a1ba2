// SHA-256, for the checksums of files. Source: FIPS 180-4.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "engine/kernels/sha256.h"

namespace runnel::engine {

/// Of bytes that come in pieces of any size.
class Sha256 {
 public:
  explicit Sha256(Isa isa = chosen_isa()) : add_blocks_(sha256_blocks(isa)) {}

  void add(std::span<const std::byte> bytes) noexcept;
  /// 64 hexadecimal digits of all that was added; the object is used up.
  std::string finish();

 private:
  static constexpr std::size_t kBlock = 64;

  AddSha256Blocks add_blocks_;
  std::array<std::uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<std::byte, kBlock> pending_{};  // the first count_ % kBlock are
  std::uint64_t count_ = 0;                  // bytes
};

/// Of a whole file. Throws std::runtime_error if it can't be read.
std::string sha256_of_file(const std::filesystem::path& path);

}  // namespace runnel::engine
