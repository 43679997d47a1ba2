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

namespace runnel::engine {

/// Named tensors mapped from a file (safetensors, or PyTorch's zip). Errors name the file and,
/// where there is one, the tensor.
class Weights {
 public:
  /// Maps the file; the format is told by its content. Throws std::runtime_error.
  static Weights open(const std::filesystem::path& path);
  /// Borrows a file's content that outlives this object (an embedded model); `label` names it in
  /// errors.
  static Weights borrow(std::span<const std::byte> content, std::string label);

  bool contains(std::string_view tensor) const { return tensors_.contains(tensor); }
  const std::map<std::string, Tensor, std::less<>>& tensors() const noexcept { return tensors_; }
  const std::string& label() const noexcept { return label_; }

  /// Throws std::runtime_error with the expected and the found shape, or if there is no such
  /// tensor.
  const Tensor& get(std::string_view tensor, const Shape& expected) const;
  /// The same, converted to float from F32, F16, BF16 or F64.
  std::vector<float> floats(std::string_view tensor, const Shape& expected) const;

 private:
  Weights() = default;
  void parse(std::span<const std::byte> content);

  std::string label_;
  std::unique_ptr<MappedFile> file_;           // null if borrowed
  std::deque<std::vector<std::byte>> copies_;  // of tensors that do not lie contiguously
  std::map<std::string, Tensor, std::less<>> tensors_;
};

}  // namespace runnel::engine
