#include "rt/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <span>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "rt/descriptor.h"

extern char** environ;

namespace runnel::rt {
namespace {

constexpr int kOnWaitMs = 100;

struct Pipe {
  int read = -1;
  int write = -1;
  Pipe() {
    std::array<int, 2> ends{};
    if (pipe2(ends.data(), O_CLOEXEC) != 0) {
      throw std::system_error(errno, std::generic_category(), "pipe");
    }
    read = ends[0];
    write = ends[1];
  }
  ~Pipe() {
    if (read >= 0) close(read);
    if (write >= 0) close(write);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  static int release(int& end) { return std::exchange(end, -1); }
};

/// Appends what is there. False at the end.
bool read_some(int descriptor, std::string& text) {
  std::array<char, 4096> piece;
  const ssize_t count = read(descriptor, piece.data(), piece.size());
  if (count < 0) return errno == EINTR || errno == EAGAIN;
  text.append(piece.data(), std::size_t(count));
  return count > 0;
}

/// Waits for one of `ends`. False if one of `stops` is requested.
bool wait_for(std::span<pollfd> ends, int timeout_ms,
              std::initializer_list<const Interrupt*> stops) {
  std::vector<pollfd> all(ends.begin(), ends.end());  // poll passes over −1
  for (const Interrupt* stop : stops) {
    all.push_back({.fd = stop ? stop->descriptor() : -1, .events = POLLIN, .revents = 0});
  }
  if (poll(all.data(), all.size(), timeout_ms) <= 0) return true;
  std::copy_n(all.begin(), ends.size(), ends.begin());
  return std::all_of(all.begin() + std::ptrdiff_t(ends.size()), all.end(),
                     [](const pollfd& stop) { return stop.revents == 0; });
}

}  // namespace

ChildProcess::ChildProcess(const std::vector<std::string>& words, CtrlC ctrl_c)
    : has_group_(ctrl_c == CtrlC::kReachesUs) {
  Pipe in;
  Pipe out;
  Pipe err;
  fcntl(err.write, F_SETFL, O_NONBLOCK);  // nobody may read it: then it must not keep the child
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in.read, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out.write, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err.write, STDERR_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t ignored_here;  // by the program; a child wants them as usual
  sigemptyset(&ignored_here);
  sigaddset(&ignored_here, SIGPIPE);
  sigaddset(&ignored_here, SIGXFSZ);
  posix_spawnattr_setsigdefault(&attributes, &ignored_here);
  posix_spawnattr_setpgroup(&attributes, 0);  // one of its own, if any
  const int group = has_group_ ? POSIX_SPAWN_SETPGROUP : 0;
  posix_spawnattr_setflags(&attributes, short(POSIX_SPAWN_SETSIGDEF | group));
  const int error = posix_spawnp(&pid_, argv[0], &actions, &attributes, argv.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    pid_ = -1;
    throw std::runtime_error(words[0] + ": expected this program to be installed, found: " +
                             std::generic_category().message(error));
  }
  in_ = Pipe::release(in.write);
  out_ = Pipe::release(out.read);
  err_ = Pipe::release(err.read);
}

ChildProcess::~ChildProcess() {
  if (pid_ > 0) {
    kill(has_group_ ? -pid_ : pid_, SIGKILL);  // it may wait in a write, deaf to anything milder
    while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  end_input();
  if (out_ >= 0) close(out_);
  if (err_ >= 0) close(err_);
}

void ChildProcess::end_input() {
  if (in_ >= 0) close(in_);
  in_ = -1;
}

bool ChildProcess::feed(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = write(in_, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return false;
    bytes.remove_prefix(std::size_t(count));
  }
  return true;
}

bool ChildProcess::take_output(int timeout_ms, Stops stops) {
  std::array<pollfd, 2> ends = {pollfd{.fd = out_, .events = POLLIN, .revents = 0},
                                pollfd{.fd = err_, .events = POLLIN, .revents = 0}};
  if (!wait_for(ends, timeout_ms, stops)) return false;
  for (const auto& [index, end, text] :
       {std::tuple{0, &out_, &result_.out}, std::tuple{1, &err_, &result_.err}}) {
    if (ends[std::size_t(index)].revents == 0 || read_some(*end, *text)) continue;
    close(*end);
    *end = -1;
  }
  return true;
}

ChildProcess::Result ChildProcess::reap() {
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  result_.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result_;
}

ChildProcess::Result ChildProcess::wait(const std::function<void()>& on_wait) {
  end_input();
  while (out_ >= 0 || err_ >= 0) {
    take_output(on_wait ? kOnWaitMs : -1, {});
    if (on_wait) on_wait();
  }
  return reap();
}

std::optional<ChildProcess::Result> ChildProcess::wait_unless(Stops stops) {
  end_input();
  while (out_ >= 0 || err_ >= 0) {
    if (!take_output(-1, stops)) return std::nullopt;
  }
  // It may live on without them. Kernels before 5.3 have no such descriptor, and reap() waits.
  const Descriptor end(int(syscall(SYS_pidfd_open, pid_, 0)));
  std::array<pollfd, 1> ends = {pollfd{.fd = end.get(), .events = POLLIN, .revents = 0}};
  while (end.get() >= 0 && ends[0].revents == 0) {
    if (!wait_for(ends, -1, stops)) return std::nullopt;
  }
  return reap();
}

}  // namespace runnel::rt
