#include "tests/rt/virtual_sound_card.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <thread>

namespace runnel::rt::testing {
namespace {

constexpr std::chrono::milliseconds kPoll{20};
constexpr int kPolls = 500;  // ten seconds

std::string alsa_config(const std::vector<std::string>& sinks) {
  // Without handling underruns: PortAudio answers one with an empty restart, which is the next one,
  // when the stream's rate is not the sink's.
  std::string text;
  const auto pcm = [&](const std::string& name, const std::string& device) {
    text += "pcm." + name + " { type pulse handle_underrun 0 device \"" + device +
            "\" hint.description \"" + name + "\" }\n";
  };
  text += "pcm.!default { type pulse handle_underrun 0 }\nctl.!default { type pulse }\n";
  for (const std::string& sink : sinks) {
    pcm(sink, sink);
    pcm(sink + "_monitor", sink + ".monitor");
  }
  return text;
}

}  // namespace

VirtualSoundCard::VirtualSoundCard(const std::vector<std::string>& sinks, int rate_hz) {
  std::string pattern = (std::filesystem::temp_directory_path() / "runnel-card-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) {
    why_not_ = "no temporary folder";
    return;
  }
  folder_ = pattern;
  std::ofstream(folder_ / ".asoundrc") << alsa_config(sinks);
  set_environment("HOME", folder_.string());
  set_environment("XDG_RUNTIME_DIR", folder_.string());
  set_environment("XDG_CONFIG_HOME", folder_.string());
  set_environment("PULSE_RUNTIME_PATH", folder_.string());
  set_environment("PULSE_SERVER", "unix:" + (folder_ / "socket").string());
  set_environment("PULSE_SINK", sinks.back());
  set_environment("PULSE_SOURCE", sinks.front() + ".monitor");
  start_daemon(sinks, rate_hz);
  for (int i = 0; i < kPolls && why_not_.empty() && !answers(); ++i) {
    if (waitpid(daemon_, nullptr, WNOHANG) == daemon_) {
      daemon_ = -1;
      why_not_ = "PulseAudio cannot start here";
    } else if (i + 1 == kPolls) {
      why_not_ = "PulseAudio does not answer";
    }
    std::this_thread::sleep_for(kPoll);
  }
}

VirtualSoundCard::~VirtualSoundCard() {
  unplug();
  for (const auto& [name, value] : former_environment_) {
    if (value) {
      setenv(name.c_str(), value->c_str(), 1);
    } else {
      unsetenv(name.c_str());
    }
  }
  std::error_code ignored;
  if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
}

void VirtualSoundCard::unplug() {
  if (daemon_ < 0) return;
  kill(daemon_, SIGKILL);
  waitpid(daemon_, nullptr, 0);
  daemon_ = -1;
}

void VirtualSoundCard::set_environment(const std::string& name, const std::string& value) {
  const char* former = getenv(name.c_str());
  former_environment_[name] = former ? std::optional<std::string>(former) : std::nullopt;
  setenv(name.c_str(), value.c_str(), 1);
}

void VirtualSoundCard::start_daemon(const std::vector<std::string>& sinks, int rate_hz) {
  std::vector<std::string> words = {
      "pulseaudio",
      "-n",
      "--system=false",
      "--daemonize=no",
      "--use-pid-file=no",
      "--exit-idle-time=-1",
      "--high-priority=no",
      "--realtime=no",
      "--disable-shm=yes",
      "-L",
      "module-native-protocol-unix auth-anonymous=1 socket=" + (folder_ / "socket").string()};
  for (const std::string& sink : sinks) {
    words.insert(words.end(),
                 {"-L", "module-null-sink sink_name=" + sink + " rate=" + std::to_string(rate_hz)});
  }
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const std::string log = (folder_ / "log").string();

  daemon_ = fork();
  if (daemon_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // a crashed test leaves nothing behind
    const int file = open(log.c_str(), O_WRONLY | O_CREAT, 0600);
    dup2(file, STDOUT_FILENO);
    dup2(file, STDERR_FILENO);
    execvp(arguments.front(), arguments.data());
    _exit(127);
  }
  if (daemon_ < 0) why_not_ = "no process can be started";
}

bool VirtualSoundCard::answers() const {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = (folder_ / "socket").string();
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  const int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const bool answered =
      connect(probe, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  close(probe);
  return answered;
}

}  // namespace runnel::rt::testing
