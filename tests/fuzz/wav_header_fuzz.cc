#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <vector>

#include "rt/wav_source.h"

/// A whole file: its header, and whatever samples it says it has.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  runnel::rt::Descriptor file(memfd_create("wav", MFD_CLOEXEC));
  if (file.get() < 0 || write(file.get(), data, size) != ssize_t(size)) return 0;
  lseek(file.get(), 0, SEEK_SET);
  try {
    runnel::rt::WavSource source(std::move(file), {}, "file");
    if (source.channels() < 1 || source.rate_hz() < 1) std::abort();
    std::vector<float> samples(std::size_t(100 * source.channels()));
    while (const int frames = source.read(samples.data(), 100)) {
      for (int i = 0; i < frames * source.channels(); ++i) {
        if (!std::isfinite(samples[std::size_t(i)])) std::abort();
      }
    }
  } catch (const std::runtime_error&) {
  }
  return 0;
}
