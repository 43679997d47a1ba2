// The front door to checkpoints: named tensors, whatever the file's format.
#pragma once

#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/mapped_file.h"
#include "engine/tensor.h"
#include "engine/torch_checkpoint.h"

namespace runnel::engine {

/// Named tensors mapped from a file (safetensors, or PyTorch's zip) or from the shards of one.
/// Errors name the file and, where there is one, the tensor.
class Weights {
 public:
  /// Maps a file, its format told by its content; or all shards of a model.safetensors.index.json;
  /// or, of a folder, its model.safetensors, or else its shards. Throws std::runtime_error.
  static Weights open(const std::filesystem::path& path);
  /// Maps a torch package; see parse_torch_package. What `find` throws is thrown as a
  /// std::runtime_error that names the file.
  static Weights open_package(const std::filesystem::path& path, const FindStateDict& find);
  /// Borrows a file's content that outlives this object (an embedded model); `label` names it in
  /// errors.
  static Weights borrow(std::span<const std::byte> content, std::string label);

  bool contains(std::string_view tensor) const { return tensors_.contains(tensor); }
  const std::map<std::string, Tensor, std::less<>>& tensors() const noexcept { return tensors_; }
  const std::string& label() const noexcept { return label_; }

  /// Throws std::runtime_error with the expected and the found shape, or if there is no such
  /// tensor.
  const Tensor& get(std::string_view tensor, const Shape& expected) const;
  /// The same, converted to float from F32, F16, BF16 or F64. Throws for values that aren't finite.
  std::vector<float> floats(std::string_view tensor, const Shape& expected) const;
  /// Elements [first, first + out.size()) of a tensor, row-major, as float. Made for reading large
  /// tensors once, front to back: of mapped ones, no more than some MB stay resident. Throws
  /// std::runtime_error if there is no such tensor, it has no floats, fewer than that, or some that
  /// aren't finite.
  void read(std::string_view tensor, std::int64_t first, std::span<float> out) const;
  /// The tensor won't be read soon: its mapped pages leave resident memory. Reading it again works.
  void release(std::string_view tensor) const noexcept;

 private:
  Weights() = default;
  static Weights open_file(const std::filesystem::path& path);
  /// `find`: null unless it is a package.
  void parse(std::span<const std::byte> content, const FindStateDict& find = {});
  void open_shards(const std::filesystem::path& index);
  const Tensor& find(std::string_view tensor) const;
  const MappedFile* file_of(const Tensor& tensor) const noexcept;

  std::string label_;
  std::vector<std::unique_ptr<const MappedFile>> files_;  // none if borrowed
  std::deque<std::vector<std::byte>> copies_;             // of tensors that do not lie contiguously
  std::map<std::string, Tensor, std::less<>> tensors_;
};

}  // namespace runnel::engine
