// Steps must not touch the heap. Every allocation function of this program is replaced here by one
// that counts the calls of the watched thread.
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <vector>

#include "dsp/istft.h"
#include "dsp/log_mel.h"
#include "dsp/resampler.h"
#include "dsp/stft.h"
#include "tests/dsp/signals.h"

// Sanitizers replace the same functions.
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define RUNNEL_COUNT_ALLOCATIONS 1
#else
#define RUNNEL_COUNT_ALLOCATIONS 0
#endif

namespace {
thread_local bool watching = false;
thread_local int calls = 0;
[[maybe_unused]] void count() noexcept { calls += watching ? 1 : 0; }
}  // namespace

#if RUNNEL_COUNT_ALLOCATIONS
extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* block, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);
void __libc_free(void* block);

void* malloc(std::size_t size) noexcept {
  count();
  return __libc_malloc(size);
}
void* calloc(std::size_t n, std::size_t size) noexcept {
  count();
  return __libc_calloc(n, size);
}
void* realloc(void* block, std::size_t size) noexcept {
  count();
  return __libc_realloc(block, size);
}
void* memalign(std::size_t alignment, std::size_t size) noexcept {
  count();
  return __libc_memalign(alignment, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
  count();
  return __libc_memalign(alignment, size);
}
int posix_memalign(void** block, std::size_t alignment, std::size_t size) noexcept {
  count();
  *block = __libc_memalign(alignment, size);
  return *block == nullptr ? ENOMEM : 0;
}
void free(void* block) noexcept {
  count();
  __libc_free(block);
}
}
#endif

namespace runnel::dsp {
namespace {

template <class Work>
int heap_calls(Work work) {
  calls = 0;
  watching = true;
  work();
  watching = false;
  return calls;
}

class NoAllocation : public testing::Test {
 protected:
  void SetUp() override {
    if (!RUNNEL_COUNT_ALLOCATIONS) GTEST_SKIP() << "a sanitizer or another libc owns the heap";
    std::vector<int> block;
    EXPECT_EQ(heap_calls([&] { block.resize(100); }), 1);  // the count itself works
  }
  const std::vector<float> samples_ = noise(2 * 512, 1);
  const AudioChunk chunk_{{samples_.data(), 2, 512, 512}, {0, 48000}};
};

TEST_F(NoAllocation, InAnyStepOfStftAndIstft) {
  // Lengths of every kind: FFTW's codelets, and Bluestein for odd and prime ones.
  for (const int n_fft : {400, 441, 512, 735, 1018, 1103, 2048, 4096}) {
    const StftConfig config{.n_fft = n_fft, .hop = n_fft / 2 - 3};
    Stft stft(config, 2, 512);
    Istft istft(config, 2, 48000);
    std::int64_t got = 0;
    const auto drain = [&] {
      for (SpectrumFrame frame; stft.pop(frame);) {
        istft.push(frame);
        for (AudioChunk chunk; istft.pop(chunk);) got += chunk.frames();
      }
    };
    EXPECT_EQ(heap_calls([&] {
                for (int i = 0; i < 40; ++i) {
                  stft.push(chunk_);
                  drain();
                }
                stft.flush();
                drain();
                istft.flush();
                stft.reset();
                istft.reset();
              }),
              0)
        << n_fft;
    EXPECT_EQ(got, 40 * 512);
  }
}

TEST_F(NoAllocation, InAnyStepOfTheResampler) {
  for (const ResamplerQuality quality :
       {ResamplerQuality::kFast, ResamplerQuality::kMedium, ResamplerQuality::kBest}) {
    for (const int out_rate : {8000, 16000, 44100, 48000, 192000}) {
      Resampler resampler(48000, out_rate, 2, 512, quality);
      std::int64_t got = 0;
      const auto drain = [&] {
        for (AudioChunk chunk; resampler.pop(chunk);) got += chunk.frames();
      };
      // Often enough that libsamplerate's buffer goes round.
      EXPECT_EQ(heap_calls([&] {
                  for (int i = 0; i < 400; ++i) {
                    resampler.push(chunk_);
                    drain();
                  }
                  resampler.flush();
                  drain();
                  resampler.reset();
                }),
                0)
          << out_rate;
      EXPECT_EQ(got, resampled_length(400 * 512, 48000, out_rate));
    }
  }
}

TEST_F(NoAllocation, InAnyStepOfLogMel) {
  LogMel mel(80, 512);
  std::vector<float> window(40 * 80);
  const AudioChunk mono{{samples_.data(), 1, 512, 512}, {0, 16000}};
  int got = 0;
  const auto drain = [&] {
    for (MelFrames frames; mel.pop(frames); got += frames.log_mel.rows) {
      whisper_window(frames.log_mel, {window.data(), 40, 80, 80});
    }
  };
  EXPECT_EQ(heap_calls([&] {
              for (int i = 0; i < 40; ++i) {
                mel.push(mono);
                drain();
              }
              mel.flush();
              drain();
              mel.reset();
            }),
            0);
  EXPECT_EQ(got, 40 * 512 / 160);
}

}  // namespace
}  // namespace runnel::dsp
