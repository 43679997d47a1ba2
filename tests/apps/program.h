// Runs the built program as a user does, and makes and reads the audio files around it.
#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

namespace runnel::apps::testing {

/// XDG_DATA_HOME and HF_HUB_CACHE of all tests: no folder, so nobody's models are found.
inline constexpr const char* kNowhere = "/nonexistent";

/// A folder that goes when the test does.
class TempFolder {
 public:
  TempFolder();
  ~TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  std::string file(const std::string& name) const { return (path_ / name).string(); }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

std::string read_text(const std::string& path);
void write_text(const std::string& path, const std::string& text);
nlohmann::json read_json(const std::string& path);
/// In bytes; 0 where there is none.
std::uintmax_t size_of(const std::string& path);

/// What a run of the program left.
struct Outcome {
  int exit_code = -1;  // 128 + signal if one killed it
  std::string out;
  std::string err;
};

/// What a program finds.
struct Surroundings {
  std::string stdin_file = "/dev/null";
  std::string stdout_file{};  // empty: one whose content Outcome holds
  long file_limit_bytes = 0;  // the largest file that it may write, as on a full disk; 0: no limit
  std::string faults{};       // what the system refuses it, see faults.cc
};

/// A running `runnel`, by its arguments.
class Program {
 public:
  explicit Program(const std::vector<std::string>& arguments, const Surroundings& around = {});
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  void signal(int number) const;
  bool running();
  /// Or until it has ended.
  template <class Done>
  void wait_until(Done&& done) {
    while (running() && !done()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  /// What stderr holds so far.
  std::string err() const;
  /// Whether a fault has occurred.
  bool met_fault() const;
  Outcome wait();

 private:
  TempFolder folder_;
  pid_t pid_ = -1;
  int status_ = 0;
};

Outcome run(const std::vector<std::string>& arguments, const std::string& stdin_file = "/dev/null");

/// `words`, then `more`.
std::vector<std::string> joined(std::vector<std::string> words,
                                const std::vector<std::string>& more);

/// Lines in a text that ends with a line break.
int count_lines(const std::string& text);

struct Audio {
  int rate_hz = 0;
  int channels = 0;
  std::vector<float> samples;  // interleaved

  std::int64_t frames() const { return std::int64_t(samples.size()) / channels; }
};

/// Bursts of harmonics in noise, different in each channel, of peak below 0.8.
Audio noisy_speech(int rate_hz, int channels, std::int64_t frames);
void write_wav(const std::string& path, const Audio& audio);
Audio read_wav(const std::string& path);

/// A test with a folder of its own; what it makes there is known by the whole path.
class FolderTest : public ::testing::Test {
 protected:
  std::string file(const std::string& name) const { return folder_.file(name); }
  std::string make(const std::string& name, const Audio& audio) const {
    write_wav(file(name), audio);
    return file(name);
  }
  std::string make(const std::string& name, const std::string& bytes) const {
    write_text(file(name), bytes);
    return file(name);
  }
  nlohmann::json json(const std::string& name) const { return read_json(file(name)); }

  const TempFolder folder_;
};

/// One line of error, which holds `part`.
void expect_one_line(const Outcome& outcome, int exit_code, const std::string& part);

}  // namespace runnel::apps::testing
