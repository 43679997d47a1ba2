#include "tests/apps/program.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <stdexcept>

#include "rt/sink.h"
#include "rt/source.h"

namespace runnel::apps::testing {
namespace {

/// Before any test: no model that lies on this machine is found, so that the program without -m is
/// the same everywhere.
[[maybe_unused]] const bool kNoModels = [] {
  for (const char* name : {"RUNNEL_MODELS", "HUGGINGFACE_HUB_CACHE"}) unsetenv(name);
  for (const char* name : {"XDG_DATA_HOME", "HF_HUB_CACHE"}) setenv(name, kNowhere, 1);
  return true;
}();

}  // namespace

TempFolder::TempFolder() {
  std::string pattern = (std::filesystem::temp_directory_path() / "runnel-apps-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary folder");
  path_ = pattern;
}

TempFolder::~TempFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_text(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

nlohmann::json read_json(const std::string& path) { return nlohmann::json::parse(read_text(path)); }

std::uintmax_t size_of(const std::string& path) {
  std::error_code missing;
  const auto size = std::filesystem::file_size(path, missing);
  return missing ? 0 : size;
}

Program::Program(const std::vector<std::string>& arguments, const Surroundings& around) {
  std::vector<std::string> words = {RUNNEL_PROGRAM};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const std::string out = around.stdout_file.empty() ? folder_.file("out") : around.stdout_file;
  const std::string err = folder_.file("err");
  const std::string met = folder_.file("met-fault");

  pid_ = fork();
  if (pid_ < 0) throw std::runtime_error("cannot fork");
  if (pid_ > 0) return;
  dup2(open(around.stdin_file.c_str(), O_RDONLY), STDIN_FILENO);
  dup2(open(out.c_str(), O_WRONLY | O_CREAT, 0600), STDOUT_FILENO);
  dup2(open(err.c_str(), O_WRONLY | O_CREAT, 0600), STDERR_FILENO);
  if (around.file_limit_bytes > 0) {
    const rlimit limit = {rlim_t(around.file_limit_bytes), rlim_t(around.file_limit_bytes)};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  if (!around.faults.empty()) {
    setenv("LD_PRELOAD", RUNNEL_FAULTS_LIBRARY, 1);
    setenv("RUNNEL_FAULTS", around.faults.c_str(), 1);
    setenv("RUNNEL_FAULTS_MET", met.c_str(), 1);
    setenv("ASAN_OPTIONS", "verify_asan_link_order=0", 0);
  }
  execv(argv[0], argv.data());
  _exit(127);
}

Program::~Program() {
  if (running()) {
    kill(pid_, SIGKILL);
    wait();
  }
}

void Program::signal(int number) const {
  if (pid_ > 0) kill(pid_, number);
}

bool Program::running() {
  if (pid_ > 0 && waitpid(pid_, &status_, WNOHANG) == pid_) pid_ = -1;
  return pid_ > 0;
}

bool Program::met_fault() const { return std::filesystem::exists(folder_.file("met-fault")); }

std::string Program::err() const { return read_text(folder_.file("err")); }

Outcome Program::wait() {
  if (pid_ > 0) waitpid(pid_, &status_, 0);
  pid_ = -1;
  return {.exit_code = WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_),
          .out = read_text(folder_.file("out")),
          .err = err()};
}

Outcome run(const std::vector<std::string>& arguments, const std::string& stdin_file) {
  return Program(arguments, {.stdin_file = stdin_file}).wait();
}

std::vector<std::string> joined(std::vector<std::string> words,
                                const std::vector<std::string>& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

int count_lines(const std::string& text) { return int(std::count(text.begin(), text.end(), '\n')); }

Audio noisy_speech(int rate_hz, int channels, std::int64_t frames) {
  Audio audio{rate_hz, channels, {}};
  std::mt19937 generator(7);
  std::normal_distribution<float> noise(0, 0.03F);
  for (std::int64_t i = 0; i < frames; ++i) {
    const double t = double(i) / rate_hz;
    const double loud = std::max(0.0, std::sin(2 * M_PI * 3 * t));
    for (int c = 0; c < channels; ++c) {
      double voice = 0;
      for (int h = 1; h <= 10; ++h) voice += std::sin(2 * M_PI * (120 + 30 * c) * h * t) / h;
      audio.samples.push_back(std::clamp(float(0.15 * loud * voice) + noise(generator), -.8F, .8F));
    }
  }
  return audio;
}

void write_wav(const std::string& path, const Audio& audio) {
  rt::FileSink sink(
      path,
      {.rate_hz = audio.rate_hz, .channels = audio.channels, .format = rt::SampleFormat::kFloat32});
  sink.write(audio.samples.data(), int(audio.frames()));
  sink.finish();
}

Audio read_wav(const std::string& path) {
  const auto source_file = rt::open_source(path);
  rt::AudioSource& source = *source_file;
  Audio audio{source.rate_hz(), source.channels(), {}};
  std::vector<float> piece(4096 * std::size_t(source.channels()));
  while (const int n = source.read(piece.data(), 4096)) {
    audio.samples.insert(audio.samples.end(), piece.begin(),
                         piece.begin() + std::ptrdiff_t(n) * source.channels());
  }
  return audio;
}

void expect_one_line(const Outcome& outcome, int exit_code, const std::string& part) {
  EXPECT_EQ(outcome.exit_code, exit_code) << outcome.err;
  EXPECT_EQ(count_lines(outcome.err), 1) << outcome.err;
  EXPECT_NE(outcome.err.find(part), std::string::npos) << outcome.err;
}

}  // namespace runnel::apps::testing
