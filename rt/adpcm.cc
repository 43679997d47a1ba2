#include "rt/adpcm.h"

#include <sndfile.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string_view>

namespace runnel::rt {
namespace {

/// A file in memory, as libsndfile wants it.
struct MemoryFile {
  std::vector<std::byte> bytes;
  sf_count_t at = 0;

  static sf_count_t size(void* self) {
    return sf_count_t(static_cast<MemoryFile*>(self)->bytes.size());
  }
  static sf_count_t seek(sf_count_t offset, int whence, void* self) {
    auto& file = *static_cast<MemoryFile*>(self);
    const sf_count_t from = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? file.at : size(self);
    return file.at = std::clamp<sf_count_t>(from + offset, 0, size(self));
  }
  static sf_count_t read(void* out, sf_count_t count, void* self) {
    auto& file = *static_cast<MemoryFile*>(self);
    count = std::min(count, size(self) - file.at);
    if (count > 0) std::memcpy(out, file.bytes.data() + file.at, std::size_t(count));
    file.at += std::max<sf_count_t>(count, 0);
    return std::max<sf_count_t>(count, 0);
  }
  static sf_count_t write(const void*, sf_count_t, void*) { return 0; }
  static sf_count_t tell(void* self) { return static_cast<MemoryFile*>(self)->at; }

  void id(std::string_view name) {
    for (const char c : name) bytes.push_back(std::byte(c));
  }
  void number(std::size_t value) {
    for (int i = 0; i < 4; ++i) bytes.push_back(std::byte(value >> (8 * i) & 0xFF));
  }
};

}  // namespace

std::vector<float> decode_adpcm(const WavFormat& format, std::span<const std::byte> blocks) {
  const AdpcmBlocks& adpcm = *format.adpcm;
  const auto block_bytes = std::size_t(adpcm.bytes);
  const std::size_t cut = blocks.size() % block_bytes;
  const std::size_t data_bytes = blocks.size() + (cut > 0 ? block_bytes - cut : 0);
  // Two samples a byte and channel: what is missing of a block is missing of its frames.
  const auto missing = cut > 0 ? std::size_t(2 * (block_bytes - cut) / std::size_t(format.channels))
                               : std::size_t(0);
  std::size_t frames = data_bytes / block_bytes * std::size_t(adpcm.frames);
  frames -= std::min(frames, std::min(missing, std::size_t(adpcm.frames)));

  MemoryFile file;
  file.id("RIFF");
  file.number(4 + 8 + adpcm.fmt.size() + 12 + 8 + data_bytes);
  file.id("WAVEfmt ");
  file.number(adpcm.fmt.size());
  file.bytes.insert(file.bytes.end(), adpcm.fmt.begin(), adpcm.fmt.end());
  file.id("fact");
  file.number(4);
  file.number(frames);
  file.id("data");
  file.number(data_bytes);
  file.bytes.insert(file.bytes.end(), blocks.begin(), blocks.end());
  file.bytes.resize(file.bytes.size() + data_bytes - blocks.size());

  SF_VIRTUAL_IO access = {&MemoryFile::size, &MemoryFile::seek, &MemoryFile::read,
                          &MemoryFile::write, &MemoryFile::tell};
  SF_INFO info{};
  SNDFILE* handle = sf_open_virtual(&access, SFM_READ, &info, &file);
  std::vector<float> samples(frames * std::size_t(format.channels));
  sf_count_t got = 0;
  if (handle != nullptr && info.channels == format.channels) {
    got = sf_readf_float(handle, samples.data(), sf_count_t(frames));
  }
  if (handle != nullptr) sf_close(handle);
  samples.resize(std::size_t(got) * std::size_t(format.channels));
  return samples;
}

bool can_decode_adpcm(const WavFormat& format) {
  const std::vector<std::byte> silence(std::size_t(format.adpcm->bytes));
  return !decode_adpcm(format, silence).empty();
}

}  // namespace runnel::rt
