// Whatever the system refuses in the middle of a construction: an exception of one line, and
// nothing is left behind.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <functional>

#include "rt/device.h"
#include "rt/event_queue.h"
#include "rt/pump.h"
#include "rt/rescaling_sink.h"
#include "rt/sink.h"
#include "rt/source.h"
#include "rt/stop_signal.h"
#include "rt/wakeup_floor.h"
#include "rt/wav_source.h"
#include "tests/rt/refusal.h"
#include "tests/rt/test_audio.h"

namespace runnel::rt {
namespace {

using testing::is_one_line;
using testing::live_blocks;
using testing::Refusal;
using testing::Resource;
using testing::TempFolder;

constexpr int kRateHz = 8000;

int open_descriptors() {
  const auto entries = std::filesystem::directory_iterator("/proc/self/fd");
  return int(std::distance(begin(entries), end(entries)));
}

/// Does `make` with the 1st, 2nd, … request refused, until there are no more.
void sweep(Resource resource, const std::function<void()>& make) {
  make();  // what is made once for all is there
  for (long at = 1;; ++at) {
    const long blocks = live_blocks();
    const int descriptors = open_descriptors();
    bool met = false;
    std::string error;
    {
      const Refusal refusal(resource, at);
      try {
        make();
      } catch (const std::exception& failure) {
        error = failure.what();
      }
      met = Refusal::met();
    }
    EXPECT_TRUE(error.empty() || is_one_line(error)) << error;
    EXPECT_TRUE(met || error.empty()) << error;
    error = {}, error.shrink_to_fit();
    EXPECT_EQ(live_blocks(), blocks) << "request " << at;
    EXPECT_EQ(open_descriptors(), descriptors) << "request " << at;
    if (!met) return;
  }
}

/// Does `make` with room for none, one, two … more descriptors, until it succeeds.
void sweep_descriptors(const std::function<void()>& make) {
  make();
  rlimit former{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &former), 0);
  const int before = open_descriptors();
  const int free = dup(STDIN_FILENO);  // the lowest that is free
  close(free);
  for (int room = 0;; ++room) {
    const rlimit limit = {rlim_t(free + room), former.rlim_max};
    setrlimit(RLIMIT_NOFILE, &limit);
    std::string error;
    try {
      make();
    } catch (const std::exception& failure) {
      error = failure.what();
    }
    setrlimit(RLIMIT_NOFILE, &former);
    EXPECT_EQ(open_descriptors(), before) << room;
    if (error.empty()) return;
    EXPECT_TRUE(is_one_line(error)) << error;
  }
}

struct Construction {
  const char* name;
  std::function<void(const std::string& folder)> make;
};

class FailingConstruction : public ::testing::TestWithParam<Construction> {
 protected:
  FailingConstruction() {
    write_file("in.wav");
    write_file("in.flac");
  }
  void make() { GetParam().make(folder_.file("")); }

 private:
  void write_file(const char* name) {
    FileSink sink(folder_.file(name), {.rate_hz = kRateHz, .channels = 1});
    const std::vector<float> samples = testing::noise(500);
    sink.write(samples.data(), 500);
    sink.finish();
  }

  const TempFolder folder_;
};

TEST_P(FailingConstruction, WithoutMemory) {
  sweep(Resource::kMemory, [this] { make(); });
}

TEST_P(FailingConstruction, WithoutAThread) {
  sweep(Resource::kThread, [this] { make(); });
}

TEST_P(FailingConstruction, WithoutADescriptor) {
  sweep_descriptors([this] { make(); });
}

// Not without memory: C++ libraries below ALSA then throw through its C, which keeps its lock.
TEST(FailingAudioSystem, WithoutAThread) {
  sweep(Resource::kThread, [] { const AudioSystem system; });
}

TEST(FailingAudioSystem, WithoutADescriptor) {
  sweep_descriptors([] { const AudioSystem system; });
}

void read_some(AudioSource& source) {
  std::vector<float> samples(100);
  while (source.read(samples.data(), 100) > 0) {
  }
}

void write_some(AudioSink& sink) {
  const std::vector<float> samples(300, 1.5F);  // beyond full scale
  sink.write(samples.data(), 300);
  sink.finish();
}

void write_to(const std::string& path) {
  FileSink sink(path, {.rate_hz = kRateHz, .channels = 1});
  write_some(sink);
}

class Pipe {
 public:
  Pipe() {
    if (pipe2(ends_, O_CLOEXEC) != 0) throw std::system_error(errno, std::generic_category());
  }
  ~Pipe() {
    close(ends_[0]);
    close(ends_[1]);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  int out() const { return ends_[0]; }
  int in() const { return ends_[1]; }

 private:
  int ends_[2] = {-1, -1};
};

INSTANTIATE_TEST_SUITE_P(
    Rt, FailingConstruction,
    ::testing::Values(
        Construction{"StopSignal", [](const std::string&) { const StopSignal stop; }},
        Construction{"AudioRing",
                     [](const std::string&) {
                       const AudioRing ring({.channels = 2, .min_frames = 64, .max_blocks = 4});
                     }},
        Construction{"EventQueue",
                     [](const std::string&) {
                       EventQueue<int> queue(8);
                       auto producer = queue.producer();
                       producer.try_push(1);
                     }},
        Construction{"Worker",
                     [](const std::string&) {
                       Worker worker({.name = "a rather long name of a worker"},
                                     [](const std::stop_token&) {});
                       worker.join();
                     }},
        Construction{"WakeupFloor", [](const std::string&) { WakeupFloor floor(100'000); }},
        Construction{"WavSource",
                     [](const std::string& folder) {
                       const auto source = open_source(folder + "in.wav");
                       read_some(*source);
                     }},
        Construction{"FlacSource",
                     [](const std::string& folder) {
                       const auto source = open_source(folder + "in.flac");
                       read_some(*source);
                     }},
        Construction{"PipeSource",
                     [](const std::string&) {
                       const Pipe pipe;
                       PipeSink sink({.wav_header = true, .rate_hz = kRateHz, .channels = 1},
                                     pipe.in(), "pipe");
                       const Interrupt stop;
                       WavSource source(pipe.out(), {}, "pipe", &stop);
                     }},
        Construction{"WavSink", [](const std::string& folder) { write_to(folder + "out.wav"); }},
        Construction{"FlacSink", [](const std::string& folder) { write_to(folder + "out.flac"); }},
        Construction{"Mp3Sink", [](const std::string& folder) { write_to(folder + "out.mp3"); }},
        Construction{"RescalingSink",
                     [](const std::string& folder) {
                       RescalingSink sink(folder + "loud.wav", {.rate_hz = kRateHz, .channels = 1});
                       write_some(sink);
                     }},
        Construction{"SourcePump",
                     [](const std::string& folder) {
                       const auto source = open_source(folder + "in.wav");
                       AudioRing ring({.rate_hz = kRateHz, .min_frames = 1024, .max_blocks = 64});
                       SourcePump pump(*source, ring, {.block_frames = 100});
                       pump.stop();
                       pump.rethrow_if_failed();
                     }}),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace runnel::rt
