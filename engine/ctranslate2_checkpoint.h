// CTranslate2's model.bin, as faster-whisper's folders have it. All numbers are little-endian and
// nothing is aligned; a string is u16 length with its closing zero, bytes, zero:
//
//   u32 version; from version 2 on: string model ("WhisperSpec"), u32 revision of its layout
//   u32 variables, each: string name, u8 dimensions, u32 of each (outermost first),
//     from version 4 on: u8 type, u32 bytes; before: u8 bytes of an element, u32 elements
//     data
//   from version 3 on: u32 aliases, each: string alias, string variable
//
// A quantised variable w has the scales w_scale, one for each row (outermost index) or one in all;
// a value is integer / scale.
//
// Source: CTranslate2's python/ctranslate2/specs/model_spec.py and src/models/model.cc.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "engine/mapped_file.h"
#include "engine/tensor.h"

namespace runnel::engine {

class CTranslate2Checkpoint {
 public:
  /// Maps the file and checks every field against its size before anything is allocated. Throws
  /// std::runtime_error in one line: the file, what was expected, what was found.
  static CTranslate2Checkpoint open(const std::filesystem::path& path);
  /// Borrows content that outlives this object; `label` names it in errors.
  static CTranslate2Checkpoint borrow(std::span<const std::byte> content, std::string label);
  /// True if a file begins like this, of any version from 2 on.
  static bool is_ctranslate2(std::span<const std::byte> content);

  const std::string& label() const noexcept { return label_; }
  /// The kind of model; empty in version 1.
  const std::string& model() const noexcept { return model_; }
  std::uint32_t revision() const noexcept { return revision_; }
  /// Under their names and their aliases, scales included.
  const std::map<std::string, Tensor, std::less<>>& tensors() const noexcept { return tensors_; }
  bool contains(std::string_view tensor) const { return tensors_.contains(tensor); }
  /// Of a variable without dimensions that is a whole number.
  std::optional<std::int64_t> integer(std::string_view variable) const;

  /// As Weights::get, for what `read` can read: floats, or integers with their scales.
  const Tensor& get(std::string_view tensor, const Shape& expected) const;
  /// As Weights::read and release.
  void read(std::string_view tensor, std::int64_t first, std::span<float> out) const;
  void release(std::string_view tensor) const noexcept;

 private:
  CTranslate2Checkpoint() = default;
  void parse(std::span<const std::byte> content);
  const Tensor& find(std::string_view tensor) const;
  /// Of a quantised tensor, one of each row or one in all.
  Tensor scales_of(const Tensor& tensor) const;
  void dequantise(const Tensor& tensor, std::size_t first, std::span<float> out) const;

  std::string label_;
  std::unique_ptr<const MappedFile> file_;  // null if borrowed
  std::string model_;
  std::uint32_t revision_ = 1;
  std::map<std::string, Tensor, std::less<>> tensors_;
};

}  // namespace runnel::engine
