#include "engine/torch_checkpoint.h"

#include <cstring>
#include <optional>
#include <stdexcept>
#include <string>

#include "engine/pickle.h"
#include "engine/zip_archive.h"

namespace runnel::engine {
namespace {

using Kind = PickleValue::Kind;

[[noreturn]] void fail(const std::string& why) {
  throw std::runtime_error("torch checkpoint: " + why);
}

std::optional<DType> storage_dtype(const std::string& global) {
  if (global == "torch FloatStorage") return DType::kF32;
  if (global == "torch HalfStorage") return DType::kF16;
  if (global == "torch BFloat16Storage") return DType::kBF16;
  if (global == "torch DoubleStorage") return DType::kF64;
  if (global == "torch LongStorage") return DType::kI64;
  if (global == "torch IntStorage") return DType::kI32;
  if (global == "torch ShortStorage") return DType::kI16;
  if (global == "torch CharStorage") return DType::kI8;
  if (global == "torch ByteStorage") return DType::kU8;
  if (global == "torch BoolStorage") return DType::kBool;
  return std::nullopt;
}

const PickleValue& item(const PickleValue& holder, std::size_t i, Kind kind, const char* what) {
  if (i >= holder.items.size() || !holder.items[i]->is(kind)) {
    fail(std::string("damaged: ") + what + " expected");
  }
  return *holder.items[i];
}

Shape integers(const PickleValue& tuple) {
  Shape values;
  for (const PickleValue* value : tuple.items) {
    if (!value->is(Kind::kInteger) || value->integer < 0) fail("damaged: a size expected");
    values.push_back(value->integer);
  }
  return values;
}

bool is_call_of(const PickleValue& value, std::string_view global) {
  return value.is(Kind::kCall) && value.items[0]->text == global;
}

/// A Parameter is a call around the tensor that it holds.
const PickleValue& unwrap(const PickleValue& value) {
  if (is_call_of(value, "torch._utils _rebuild_parameter")) {
    const PickleValue& args = item(value, 1, Kind::kTuple, "arguments");
    return item(args, 0, Kind::kCall, "a tensor");
  }
  return value;
}

struct Reader {
  const ZipEntries& entries;
  std::string prefix;  // the archive's folder
  std::deque<std::vector<std::byte>>& copies;
  std::size_t copies_left;  // bytes: a pickle may name one storage any number of times

  /// _rebuild_tensor_v2(storage, offset, size, stride, …) with
  /// storage = persistent id ("storage", type, key, device, element count).
  Tensor tensor(const std::string& tensor_name, const PickleValue& call) {
    const PickleValue& args = item(call, 1, Kind::kTuple, "arguments");
    const PickleValue& id = item(item(args, 0, Kind::kPersistentId, "a storage"), 0, Kind::kTuple,
                                 "a storage's description");
    const auto dtype = storage_dtype(item(id, 1, Kind::kGlobal, "a storage type").text);
    if (!dtype) fail("tensor '" + tensor_name + "' has an unknown storage type");
    const auto storage = entries.find(prefix + "data/" + item(id, 2, Kind::kString, "a key").text);
    if (storage == entries.end()) fail("the storage of tensor '" + tensor_name + "' is missing");
    const std::int64_t offset = item(args, 1, Kind::kInteger, "an offset").integer;
    Tensor tensor{.name = tensor_name,
                  .dtype = *dtype,
                  .shape = integers(item(args, 2, Kind::kTuple, "a shape")),
                  .bytes = {}};
    const Shape stride = integers(item(args, 3, Kind::kTuple, "strides"));
    tensor.bytes = view(tensor, stride, offset, storage->second);
    return tensor;
  }

 private:
  std::span<const std::byte> view(const Tensor& tensor, const Shape& stride, std::int64_t offset,
                                  std::span<const std::byte> storage) {
    const auto damaged = [&] {
      fail("tensor '" + tensor.name + "' of shape " + to_string(tensor.shape) +
           " does not fit its storage of " + std::to_string(storage.size()) + " bytes");
    };
    const auto width = std::int64_t(size_of(tensor.dtype));
    const std::int64_t count = elements(tensor.shape);
    const std::int64_t available = std::int64_t(storage.size()) / width;
    // More elements than the storage holds would be an expanded tensor: nobody saves those.
    if (count < 0 || count > available || offset < 0 || offset > available ||
        stride.size() != tensor.shape.size()) {
      damaged();
    }
    if (count == 0) return {};
    bool contiguous = true;
    std::int64_t last = offset, packed = 1;
    for (std::size_t i = tensor.shape.size(); i-- > 0;) {
      std::int64_t reach = 0;
      if (!multiply(tensor.shape[i] - 1, stride[i], reach) ||
          __builtin_add_overflow(last, reach, &last)) {
        damaged();
      }
      contiguous &= tensor.shape[i] == 1 || stride[i] == packed;
      packed *= tensor.shape[i];
    }
    if (last >= available) damaged();
    if (contiguous) {
      return storage.subspan(std::size_t(offset * width), std::size_t(count * width));
    }
    return gather(tensor.shape, stride, storage.data() + offset * width, std::size_t(width),
                  std::size_t(count));
  }

  std::span<const std::byte> gather(const Shape& shape, const Shape& stride, const std::byte* from,
                                    std::size_t width, std::size_t count) {
    if (count * width > copies_left) fail("tensors that share storages would need far more memory");
    copies_left -= count * width;
    std::vector<std::byte>& copy = copies.emplace_back(count * width);
    Shape index(shape.size(), 0);
    for (std::size_t i = 0; i < count; ++i) {
      std::int64_t at = 0;
      for (std::size_t d = 0; d < shape.size(); ++d) at += index[d] * stride[d];
      std::memcpy(copy.data() + i * width, from + std::size_t(at) * width, width);
      for (std::size_t d = shape.size(); d-- > 0 && ++index[d] == shape[d];) index[d] = 0;
    }
    return copy;
  }
};

void collect(const PickleValue& dict, Reader& reader, std::vector<Tensor>& tensors) {
  for (std::size_t i = 0; i + 1 < dict.items.size(); i += 2) {
    const PickleValue& value = unwrap(*dict.items[i + 1]);
    if (dict.items[i]->is(Kind::kString) && is_call_of(value, "torch._utils _rebuild_tensor_v2")) {
      tensors.push_back(reader.tensor(dict.items[i]->text, value));
    }
  }
}

const PickleValue& usual_state_dict(const PickleValue& root) {
  for (const char* key : {"model", "state_dict", "model_state_dict", "state"}) {
    if (const PickleValue* inner = root.find(key)) return *inner;
  }
  return root;
}

std::vector<Tensor> parse(std::span<const std::byte> file, const FindStateDict& find,
                          UnknownNames unknown, std::deque<std::vector<std::byte>>& copies) {
  const ZipEntries entries = parse_zip(file);
  const std::string suffix = "data.pkl";
  for (const auto& [entry_name, bytes] : entries) {
    if (!entry_name.ends_with(suffix)) continue;
    const Pickle pickle(bytes,
                        {"torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter",
                         "collections OrderedDict", "torch FloatStorage", "torch HalfStorage",
                         "torch BFloat16Storage", "torch DoubleStorage", "torch LongStorage",
                         "torch IntStorage", "torch ShortStorage", "torch CharStorage",
                         "torch ByteStorage", "torch BoolStorage", "torch Size"},
                        unknown);
    const PickleValue& dict = find(pickle.root());
    Reader reader{.entries = entries,
                  .prefix = entry_name.substr(0, entry_name.size() - suffix.size()),
                  .copies = copies,
                  .copies_left = 4 * file.size()};
    std::vector<Tensor> tensors;
    collect(dict, reader, tensors);
    if (dict.is(Kind::kCall)) {  // OrderedDict: its items are dicts set on the call
      for (std::size_t i = 2; i < dict.items.size(); ++i) {
        if (dict.items[i]->is(Kind::kDict)) collect(*dict.items[i], reader, tensors);
      }
    }
    if (tensors.empty()) fail("no tensors found in the state dict");
    return tensors;
  }
  fail("no data.pkl inside (not written by torch.save)");
}

}  // namespace

std::vector<Tensor> parse_torch_checkpoint(std::span<const std::byte> file,
                                           std::deque<std::vector<std::byte>>& copies) {
  return parse(file, usual_state_dict, UnknownNames::kRefused, copies);
}

std::vector<Tensor> parse_torch_package(std::span<const std::byte> file, const FindStateDict& find,
                                        std::deque<std::vector<std::byte>>& copies) {
  return parse(file, find, UnknownNames::kKept, copies);
}

}  // namespace runnel::engine
