#include "engine/weights.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>
#include <new>
#include <set>
#include <stdexcept>

#include "engine/float_conversion.h"
#include "engine/paths.h"
#include "engine/safetensors.h"
#include "engine/shard_index.h"

namespace runnel::engine {
namespace {

constexpr std::array kFilesOfFolders = {"model.safetensors", "model.safetensors.index.json",
                                        "pytorch_model.bin", "pytorch_model.bin.index.json"};

bool is_zip(std::span<const std::byte> content) {
  return content.size() >= 4 && std::memcmp(content.data(), "PK\x03\x04", 4) == 0;
}

}  // namespace

Weights Weights::open(const std::filesystem::path& path) {
  std::filesystem::path file = path;
  if (is_folder(path)) {
    const auto found = std::find_if(kFilesOfFolders.begin(), kFilesOfFolders.end(),
                                    [&](const char* name) { return is_there(path / name); });
    if (found == kFilesOfFolders.end()) {
      throw std::runtime_error(path.string() +
                               ": expected model.safetensors or pytorch_model.bin in it, or the "
                               ".index.json of its shards, found none");
    }
    file = path / *found;
  }
  if (file.extension() != ".json") return open_file(file);
  Weights weights;
  weights.label_ = file.string();
  weights.open_shards(file);
  return weights;
}

Weights Weights::open_file(const std::filesystem::path& path) {
  Weights weights;
  weights.label_ = path.string();
  weights.files_.push_back(std::make_unique<const MappedFile>(path));
  weights.parse(weights.files_.back()->bytes());
  return weights;
}

void Weights::open_shards(const std::filesystem::path& index) {
  const MappedFile mapped(index);
  const std::string_view text(reinterpret_cast<const char*>(mapped.bytes().data()),
                              mapped.bytes().size());
  std::map<std::string, std::string, std::less<>> shard_of;
  try {
    shard_of = parse_shard_index(text);
  } catch (const std::exception& error) {
    throw std::runtime_error(label_ + ": " + error.what());
  }
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : shard_of) shards.insert(shard);
  for (const std::string& shard : shards) {
    Weights part = open_file(index.parent_path() / shard);
    for (auto& [name, tensor] : part.tensors_) {
      const auto entry = shard_of.find(name);
      if (entry == shard_of.end() || entry->second != shard) {
        const std::string expected = entry == shard_of.end() ? "nowhere" : "in " + entry->second;
        throw std::runtime_error(part.label_ + ": tensor '" + name + "': " + label_ +
                                 " expects it " + expected + ", found here");
      }
      tensors_.emplace(name, std::move(tensor));
    }
    std::move(part.files_.begin(), part.files_.end(), std::back_inserter(files_));
    std::move(part.copies_.begin(), part.copies_.end(), std::back_inserter(copies_));
  }
  for (const auto& [tensor, shard] : shard_of) {
    if (!tensors_.contains(tensor)) {
      throw std::runtime_error((index.parent_path() / shard).string() + ": tensor '" + tensor +
                               "' is missing (expected by " + label_ + ")");
    }
  }
}

Weights Weights::open_package(const std::filesystem::path& path, const FindStateDict& find) {
  Weights weights;
  weights.label_ = path.string();
  weights.files_.push_back(std::make_unique<const MappedFile>(path));
  weights.parse(weights.files_.back()->bytes(), find);
  return weights;
}

Weights Weights::borrow(std::span<const std::byte> content, std::string label) {
  Weights weights;
  weights.label_ = std::move(label);
  weights.parse(content);
  return weights;
}

void Weights::parse(std::span<const std::byte> content, const FindStateDict& find) {
  try {
    std::vector<Tensor> list = find              ? parse_torch_package(content, find, copies_)
                               : is_zip(content) ? parse_torch_checkpoint(content, copies_)
                                                 : parse_safetensors(content);
    for (Tensor& tensor : list) tensors_.insert_or_assign(tensor.name, std::move(tensor));
  } catch (const std::bad_alloc&) {
    throw;  // says nothing of the file
  } catch (const std::exception& error) {
    const bool any_format = !find && !is_zip(content) && !label_.ends_with(".safetensors");
    throw std::runtime_error(
        label_ + ": " +
        (any_format ? "expected a PyTorch zip or safetensors, found neither: " : "") +
        error.what());
  }
}

const Tensor& Weights::get(std::string_view tensor, const Shape& expected) const {
  if (!contains(tensor)) {
    throw std::runtime_error(label_ + ": tensor '" + std::string(tensor) + "' of shape " +
                             to_string(expected) + " is missing");
  }
  const Tensor& found = find(tensor);
  if (found.shape != expected) {
    throw std::runtime_error(label_ + ": tensor '" + std::string(tensor) + "': expected shape " +
                             to_string(expected) + ", found " + to_string(found.shape));
  }
  return found;
}

std::vector<float> Weights::floats(std::string_view tensor, const Shape& expected) const {
  const Tensor& t = get(tensor, expected);
  std::vector<float> values(t.bytes.size() / size_of(t.dtype));
  read(tensor, 0, values);
  return values;
}

void Weights::read(std::string_view tensor, std::int64_t first, std::span<float> out) const {
  const Tensor& t = find(tensor);
  if (!is_float(t.dtype)) {
    throw std::runtime_error(label_ + ": tensor '" + t.name + "': expected floats, found " +
                             std::string(name(t.dtype)));
  }
  const std::size_t width = size_of(t.dtype), count = t.bytes.size() / width;
  expect_range(std::int64_t(count), first, out.size(), label_, t.name);
  const auto bytes = t.bytes.subspan(std::size_t(first) * width, out.size() * width);
  to_float(t.dtype, bytes.data(), out);
  expect_finite(out, first, label_, t.name);
  if (const MappedFile* file = file_of(t)) file->release_behind(bytes);
}

void Weights::release(std::string_view tensor) const noexcept {
  const auto found = tensors_.find(tensor);
  if (found == tensors_.end()) return;
  if (const MappedFile* file = file_of(found->second)) file->release(found->second.bytes);
}

const Tensor& Weights::find(std::string_view tensor) const {
  const auto found = tensors_.find(tensor);
  if (found == tensors_.end()) {
    throw std::runtime_error(label_ + ": tensor '" + std::string(tensor) + "' is missing");
  }
  return found->second;
}

const MappedFile* Weights::file_of(const Tensor& tensor) const noexcept {
  for (const auto& file : files_) {
    if (file->holds(tensor.bytes)) return file.get();
  }
  return nullptr;
}

}  // namespace runnel::engine
