// The fixtures are made by tests/fixtures/make_torch_fixtures.py: element i is i − 3.
#include "engine/torch_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "engine/weights.h"
#include "tests/engine/bytes.h"

namespace runnel::engine {
namespace {

using ::testing::AllOf;
using testing::Bytes;
using testing::error_of;
using ::testing::HasSubstr;
using testing::Zip;
using namespace std::string_literals;

Weights fixture(const std::string& name) { return Weights::open("tests/fixtures/torch/" + name); }

void expect_ramp(const Weights& weights, const std::string& tensor, const Shape& shape) {
  const std::vector<float> values = weights.floats(tensor, shape);
  for (std::size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(values[i], float(i) - 3) << tensor << " " << i;
  }
}

TEST(TorchCheckpoint, ReadsContiguousTensors) {
  const Weights weights = fixture("contiguous.pt");
  expect_ramp(weights, "a", {2, 3});
  EXPECT_EQ(weights.floats("scalar", {}), std::vector<float>{0});
  EXPECT_TRUE(weights.floats("empty", {0, 4}).empty());
}

TEST(TorchCheckpoint, GathersViews) {
  const Weights weights = fixture("views.pt");
  expect_ramp(weights, "transposed", {2, 3});
  expect_ramp(weights, "column", {6});
  expect_ramp(weights, "head", {6});
  expect_ramp(weights, "tail_from_minus_3", {6});
}

TEST(TorchCheckpoint, ReadsEveryFloatType) {
  expect_ramp(fixture("half.pt"), "a", {7});
  expect_ramp(fixture("bfloat16.pt"), "a", {7});
  expect_ramp(fixture("double.pt"), "a", {7});
  EXPECT_EQ(fixture("double.pt").get("n", {4}).dtype, DType::kI64);
}

TEST(TorchCheckpoint, FindsTheStateDict) {
  expect_ramp(fixture("parameter.pt"), "a", {2, 2});
  expect_ramp(fixture("nested.pt"), "a", {3});
  expect_ramp(fixture("protocol4.pt"), "a", {3});
  const Weights ordered = fixture("ordered.pt");
  EXPECT_EQ(ordered.tensors().size(), 2U);
  expect_ramp(ordered, "a", {2, 2});
  expect_ramp(ordered, "b", {3});
}

/// A checkpoint of one float32 storage, of 8 elements; `tensors` fills the state dict.
Bytes checkpoint(const std::string& tensors, std::size_t storage_bytes = 32) {
  Bytes storage;
  storage.content.resize(storage_bytes);
  return Zip()
      .add({"x/data.pkl"}, Bytes().text("\x80\x02}(" + tensors + "u."))
      .add({"x/data/0"}, storage)
      .finish();
}

/// key: _rebuild_tensor_v2(storage, offset, (size,), (stride,)).
std::string tensor(const std::string& key, int offset, int size, int stride) {
  const auto byte = [](int value) { return "K"s + char(value); };
  return "X\x01\0\0\0"s + key + "ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\n"s +
         "FloatStorage\nX\x01\0\0\0"s + "0X\x03\0\0\0"s + "cpuK\x08tQ"s + byte(offset) +
         byte(size) + "\x85" + byte(stride) + "\x85tR";
}

std::string error(const Bytes& file) {
  return error_of([&] { Weights::borrow(file, "file.pt"); });
}

TEST(TorchCheckpoint, RefusesTensorsOutsideTheirStorage) {
  EXPECT_EQ(error(checkpoint(tensor("w", 2, 3, 2))), "");
  for (const std::string& bad : {tensor("w", 0, 9, 1), tensor("w", 2, 4, 2), tensor("w", 9, 1, 1),
                                 tensor("w", 8, 1, 1), tensor("w", 1, 8, 1)}) {
    EXPECT_THAT(error(checkpoint(bad)), AllOf(HasSubstr("file.pt: "), HasSubstr("tensor 'w'"),
                                              HasSubstr("does not fit its storage of 32 bytes")));
  }
}

TEST(TorchCheckpoint, RefusesToCopyOneStorageWithoutEnd) {
  // Key and strided tensor again and again from the memo: 4 bytes of pickle for a copy of 256.
  const std::string once = "X\x01\0\0\0wq\x02"s + tensor("w", 0, 64, 2).substr(6) + "q\x01";
  std::string many = once;
  for (int i = 0; i < 20'000; ++i) many += "h\x02h\x01"s;
  EXPECT_EQ(error(checkpoint(once, 512)), "");
  EXPECT_THAT(error(checkpoint(many, 512)), HasSubstr("far more memory"));
}

TEST(TorchCheckpoint, ExecutesNothing) {
  const Bytes file =
      Zip().add({"x/data.pkl"}, Bytes().text("cos\nsystem\nX\x04\0\0\0true\x85R."s)).finish();
  EXPECT_THAT(error(file), HasSubstr("'os system'"));
}

TEST(TorchPackage, ShowsItsPickleAndKeepsUnknownNamesAsNames) {
  const std::string path = ::testing::TempDir() + "torch_package.pt";
  const auto write = [&](const std::string& state) {
    const Bytes file = Zip()
                           .add({"x/data.pkl"}, Bytes().text("}(X\x05\0\0\0klasscos\nsystem\n"s +
                                                             "X\x05\0\0\0state"s + state + "u."))
                           .add({"x/data/0"}, Bytes().number(0x40400000, 4).number(0, 4))
                           .finish();
    const std::string_view bytes(reinterpret_cast<const char*>(file.content.data()), file.size());
    std::ofstream(path, std::ios::binary) << bytes;
  };
  std::string klass;
  const auto open = [&] {
    return Weights::open_package(path, [&](const PickleValue& root) -> const PickleValue& {
      klass = root.find("klass")->text;
      if (!root.find("state")->is(PickleValue::Kind::kDict)) throw std::runtime_error("no state");
      return *root.find("state");
    });
  };
  write("}(" + tensor("w", 0, 1, 1) + "u");
  EXPECT_EQ(open().floats("w", {1}), std::vector<float>{3});
  EXPECT_EQ(klass, "os system");
  write("N");
  EXPECT_EQ(error_of([&] { open(); }), path + ": no state");
  // Nothing else is a tensor, and nothing else refuses less.
  write("}(X\x01\0\0\0wcos\nsystem\n)Ru"s);
  EXPECT_THAT(error_of([&] { open(); }), HasSubstr("no tensors found"));
  EXPECT_THAT(error_of([&] { Weights::open(path); }), HasSubstr("'os system'"));
  std::filesystem::remove(path);
}

TEST(TorchCheckpoint, SaysWhatIsMissing) {
  EXPECT_THAT(error(Zip().add({"x/readme"}, Bytes()).finish()), HasSubstr("no data.pkl"));
  EXPECT_THAT(error(Zip().add({"x/data.pkl"}, Bytes().text("}.")).finish()),
              HasSubstr("no tensors found"));
  const Bytes no_storage =
      Zip().add({"x/data.pkl"}, Bytes().text("}(" + tensor("w", 0, 1, 1) + "u.")).finish();
  EXPECT_THAT(error(no_storage), HasSubstr("the storage of tensor 'w' is missing"));
}

TEST(TorchCheckpoint, HoldsTheSameTensorsAsSafetensors) {
  std::vector<std::pair<std::string, std::string>> forms = {
      {"tests/goldens/gtcrn-runnel/gtcrn.tar", "assets/models/gtcrn-runnel/model.safetensors"}};
  const std::string shared = "../shared/weights/gtcrn-dns3/";
  if (std::filesystem::exists(shared)) {
    forms.emplace_back(shared + "model_trained_on_dns3.tar", shared + "model.safetensors");
  }
  for (const auto& [torch_file, safe_file] : forms) {
    const Weights torch = Weights::open(torch_file), safe = Weights::open(safe_file);
    EXPECT_GT(safe.tensors().size(), 100U);
    ASSERT_EQ(torch.tensors().size(), safe.tensors().size());
    for (const auto& [name, expected] : safe.tensors()) {
      const Tensor& found = torch.get(name, expected.shape);
      EXPECT_EQ(found.dtype, expected.dtype) << name;
      EXPECT_TRUE(std::ranges::equal(found.bytes, expected.bytes)) << name;
    }
  }
}

}  // namespace
}  // namespace runnel::engine
