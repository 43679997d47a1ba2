// Runs a fuzz target once on every file of the folders and files named, and on each file's halves.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

int replay(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(stream)),
                         std::istreambuf_iterator<char>());
  const std::vector<std::uint8_t> bytes(text.begin(), text.end());
  for (const std::size_t size : {bytes.size(), bytes.size() / 2}) {
    LLVMFuzzerTestOneInput(bytes.data(), size);
  }
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  int files = 0;
  for (int i = 1; i < argc; ++i) {
    if (std::filesystem::is_directory(argv[i])) {
      for (const auto& entry : std::filesystem::directory_iterator(argv[i])) {
        files += replay(entry.path());
      }
    } else {
      files += replay(argv[i]);
    }
  }
  std::printf("%d files\n", files);
  return files > 0 ? 0 : 1;
}
