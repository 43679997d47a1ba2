// Runs the built program as a user does, and makes and reads the audio files around it.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

namespace runnel::apps::testing {

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

/// What a run of the program left.
struct Outcome {
  int exit_code = -1;  // 128 + signal if one killed it
  std::string out;
  std::string err;
};

/// A running `runnel`, by its arguments; stdin is a file.
class Program {
 public:
  /// `file_limit_bytes`: the largest file that it may write, as on a full disk; 0: no limit.
  /// `faults`: what the system refuses it, see faults.cc.
  explicit Program(const std::vector<std::string>& arguments,
                   const std::string& stdin_file = "/dev/null", long file_limit_bytes = 0,
                   const std::string& faults = "");
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  void signal(int number) const;
  bool running();
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

}  // namespace runnel::apps::testing
