// whisper.cpp's ggml .bin files. All numbers are little-endian and nothing is aligned:
//
//   u32 0x67676d6c, the 11 i32 of GgmlHeader
//   i32 mel rows, i32 mel columns, their f32
//   i32 tokens, each: u32 length, bytes
//   tensors until the end: i32 dimensions, i32 length of the name, i32 type, i32 of each dimension
//   (innermost first), name, data
//
// Source: whisper.cpp's models/convert-pt-to-ggml.py and whisper_model_load.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/ggml_blocks.h"
#include "engine/mapped_file.h"
#include "engine/tensor.h"

namespace runnel::engine {

/// In the order of the file. The values are whatever the file says: who builds a model checks them.
struct GgmlHeader {
  std::int32_t vocab_size = 0;
  std::int32_t audio_ctx = 0;
  std::int32_t audio_dim = 0;
  std::int32_t audio_heads = 0;
  std::int32_t audio_layers = 0;
  std::int32_t text_ctx = 0;
  std::int32_t text_dim = 0;
  std::int32_t text_heads = 0;
  std::int32_t text_layers = 0;
  std::int32_t mel_bins = 0;
  std::int32_t file_type = 0;  // version of the quantisation · 1000 + type of the large tensors
};

/// Borrowed from the file; row-major, outermost dimension first.
struct GgmlTensor {
  GgmlType type = GgmlType::kF32;
  Shape shape;
  std::span<const std::byte> bytes;
};

class GgmlCheckpoint {
 public:
  /// Maps the file and checks every field against its size before anything is allocated. Throws
  /// std::runtime_error in one line: the file, what was expected, what was found.
  static GgmlCheckpoint open(const std::filesystem::path& path);
  /// Borrows content that outlives this object; `label` names it in errors.
  static GgmlCheckpoint borrow(std::span<const std::byte> content, std::string label);
  /// True if a file begins like this.
  static bool is_ggml(std::span<const std::byte> content);

  const std::string& label() const noexcept { return label_; }
  const GgmlHeader& header() const noexcept { return header_; }
  /// Byte strings by token id, borrowed.
  const std::vector<std::string_view>& vocabulary() const noexcept { return vocabulary_; }
  const std::map<std::string, GgmlTensor, std::less<>>& tensors() const noexcept {
    return tensors_;
  }
  bool contains(std::string_view tensor) const { return tensors_.contains(tensor); }

  /// As Weights::get; a last dimension of 1 that the file has besides (biases of convolutions) is
  /// no difference.
  const GgmlTensor& get(std::string_view tensor, const Shape& expected) const;
  /// As Weights::read and release.
  void read(std::string_view tensor, std::int64_t first, std::span<float> out) const;
  void release(std::string_view tensor) const noexcept;

 private:
  GgmlCheckpoint() = default;
  void parse(std::span<const std::byte> content);
  const GgmlTensor& find(std::string_view tensor) const;

  std::string label_;
  std::unique_ptr<const MappedFile> file_;  // null if borrowed
  GgmlHeader header_;
  std::vector<std::string_view> vocabulary_;
  std::map<std::string, GgmlTensor, std::less<>> tensors_;
};

}  // namespace runnel::engine
