#include "engine/ggml_checkpoint.h"

#include <cstring>
#include <stdexcept>

#include "engine/byte_reader.h"
#include "engine/float_conversion.h"

namespace runnel::engine {
namespace {

constexpr std::uint32_t kMagic = 0x67676d6c;
constexpr std::int32_t kQuantisationVersion = 2;  // of the block layouts in ggml_blocks.h
constexpr int kMaxDimensions = 4;
constexpr std::int32_t kMaxName = 256;  // bytes

GgmlHeader read_header(ByteReader& reader) {
  if (std::uint32_t(reader.number("magic")) != kMagic) {
    throw std::runtime_error("expected the magic of a ggml file, found another format");
  }
  GgmlHeader header;
  for (std::int32_t* field :
       {&header.vocab_size, &header.audio_ctx, &header.audio_dim, &header.audio_heads,
        &header.audio_layers, &header.text_ctx, &header.text_dim, &header.text_heads,
        &header.text_layers, &header.mel_bins, &header.file_type}) {
    *field = reader.number("header");
  }
  return header;
}

void skip_mel_filters(ByteReader& reader) {
  const std::int64_t rows = reader.number("mel filters"), columns = reader.number("mel filters");
  std::int64_t count = 0;
  if (!multiply(rows, columns, count)) fail_number("rows of the mel filters", "at least 0", rows);
  reader.take(std::uint64_t(count) * 4, "mel filters");
}

std::vector<std::string_view> read_vocabulary(ByteReader& reader) {
  const std::int32_t count = reader.number("vocabulary");
  // Each token takes four bytes at least, so this bounds what is allocated by the file's size.
  if (count < 0 || std::size_t(count) > reader.left() / 4) {
    fail_number("tokens of the vocabulary", "0 to " + std::to_string(reader.left() / 4), count);
  }
  std::vector<std::string_view> tokens;
  tokens.reserve(std::size_t(count));
  for (std::int32_t i = 0; i < count; ++i) {
    const auto length = std::uint32_t(reader.number("vocabulary"));
    tokens.push_back(reader.text(length, "token " + std::to_string(i)));
  }
  return tokens;
}

struct Entry {
  std::string name;
  GgmlTensor tensor;
};

Entry read_tensor(ByteReader& reader, const GgmlHeader& header) {
  const std::int32_t dimensions = reader.number("a tensor's header");
  const std::int32_t name_length = reader.number("a tensor's header");
  const std::int32_t type = reader.number("a tensor's header");
  if (dimensions < 1 || dimensions > kMaxDimensions) {
    fail_number("dimensions of a tensor", "1 to " + std::to_string(kMaxDimensions), dimensions);
  }
  if (name_length < 1 || name_length > kMaxName) {
    fail_number("bytes of a tensor's name", "1 to " + std::to_string(kMaxName), name_length);
  }
  Entry entry;
  GgmlTensor& tensor = entry.tensor;
  tensor.shape.resize(std::size_t(dimensions));
  for (std::int32_t d = dimensions - 1; d >= 0; --d) {
    tensor.shape[std::size_t(d)] = reader.number("a tensor's dimensions");
  }
  entry.name = printable(reader.text(std::uint64_t(name_length), "a tensor's name"));
  const std::string label = "tensor '" + entry.name + "'";
  tensor.type = GgmlType(type);
  const auto values = std::int64_t(block_values(tensor.type));
  if (values == 0) fail_number(label + ": type", "f32, f16, q4_0, q4_1, q5_0, q5_1 or q8_0", type);
  if (values > 1 && header.file_type / 1000 != kQuantisationVersion) {
    fail_number(label + ": version of the quantisation", std::to_string(kQuantisationVersion),
                header.file_type / 1000);
  }
  const std::int64_t count = elements(tensor.shape);
  if (count < 0) throw std::runtime_error(label + ": impossible shape " + to_string(tensor.shape));
  if (tensor.shape.back() % values != 0) {
    fail_number(label + ": row of " + std::string(name(tensor.type)), "a multiple of 32 values",
                tensor.shape.back());
  }
  std::int64_t bytes = 0;
  if (!multiply(count / values, std::int64_t(block_bytes(tensor.type)), bytes)) {
    throw std::runtime_error(label + ": impossible shape " + to_string(tensor.shape));
  }
  tensor.bytes = reader.take(std::uint64_t(bytes), label + " of shape " + to_string(tensor.shape));
  return entry;
}

}  // namespace

bool GgmlCheckpoint::is_ggml(std::span<const std::byte> content) {
  return content.size() >= 4 && std::memcmp(content.data(), &kMagic, 4) == 0;
}

GgmlCheckpoint GgmlCheckpoint::open(const std::filesystem::path& path) {
  GgmlCheckpoint checkpoint;
  checkpoint.label_ = path.string();
  checkpoint.file_ = std::make_unique<const MappedFile>(path);
  checkpoint.parse(checkpoint.file_->bytes());
  return checkpoint;
}

GgmlCheckpoint GgmlCheckpoint::borrow(std::span<const std::byte> content, std::string label) {
  GgmlCheckpoint checkpoint;
  checkpoint.label_ = std::move(label);
  checkpoint.parse(content);
  return checkpoint;
}

void GgmlCheckpoint::parse(std::span<const std::byte> content) {
  try {
    ByteReader reader(content, "a ggml file");
    header_ = read_header(reader);
    skip_mel_filters(reader);
    vocabulary_ = read_vocabulary(reader);
    while (!reader.at_end()) {
      Entry entry = read_tensor(reader, header_);
      if (!tensors_.emplace(entry.name, std::move(entry.tensor)).second) {
        throw std::runtime_error("tensor '" + entry.name + "': found twice");
      }
    }
  } catch (const std::exception& error) {
    throw std::runtime_error(label_ + ": " + error.what());
  }
}

const GgmlTensor& GgmlCheckpoint::get(std::string_view tensor, const Shape& expected) const {
  const auto found = tensors_.find(tensor);
  if (found == tensors_.end()) {
    throw std::runtime_error(label_ + ": tensor '" + std::string(tensor) + "' of shape " +
                             to_string(expected) + " is missing");
  }
  Shape shape = found->second.shape;
  if (shape.size() == expected.size() + 1 && shape.back() == 1) shape.pop_back();
  if (shape != expected) {
    throw std::runtime_error(label_ + ": tensor '" + std::string(tensor) + "': expected shape " +
                             to_string(expected) + ", found " + to_string(found->second.shape));
  }
  return found->second;
}

void GgmlCheckpoint::read(std::string_view tensor, std::int64_t first, std::span<float> out) const {
  const GgmlTensor& t = find(tensor);
  const std::size_t values = block_values(t.type), bytes = block_bytes(t.type);
  const std::size_t count = t.bytes.size() / bytes * values;
  expect_range(std::int64_t(count), first, out.size(), label_, tensor);
  dequantise(t.type, t.bytes, std::size_t(first), out);
  expect_finite(out, first, label_, tensor);
  const std::size_t begin = std::size_t(first) / values * bytes;
  const std::size_t end = (std::size_t(first) + out.size()) / values * bytes;
  if (file_) file_->release_behind(t.bytes.subspan(begin, end - begin));
}

void GgmlCheckpoint::release(std::string_view tensor) const noexcept {
  const auto found = tensors_.find(tensor);
  if (file_ && found != tensors_.end()) file_->release(found->second.bytes);
}

const GgmlTensor& GgmlCheckpoint::find(std::string_view tensor) const {
  const auto found = tensors_.find(tensor);
  if (found == tensors_.end()) {
    throw std::runtime_error(label_ + ": tensor '" + std::string(tensor) + "' is missing");
  }
  return found->second;
}

}  // namespace runnel::engine
