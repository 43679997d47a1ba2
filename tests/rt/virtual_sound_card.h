// A sound card that exists only in memory, for tests that need a device.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace runnel::rt::testing {

/// A PulseAudio daemon of our own with null sinks, which ALSA (and so PortAudio) reaches through
/// this process's environment; programs started from here see the same. For each sink NAME there is
/// an output device "NAME", and an input device "NAME_monitor" that hears what is played to it. The
/// default output is the last sink, the default input the monitor of the first.
class VirtualSoundCard {
 public:
  /// Does not throw: look at available(). Make it before anything opens a device.
  explicit VirtualSoundCard(const std::vector<std::string>& sinks, int rate_hz = 48000);
  /// Ends the daemon and restores the environment.
  ~VirtualSoundCard();
  VirtualSoundCard(const VirtualSoundCard&) = delete;
  VirtualSoundCard& operator=(const VirtualSoundCard&) = delete;

  bool available() const noexcept { return why_not_.empty(); }
  const std::string& why_not() const noexcept { return why_not_; }

  /// As if it were pulled out of its socket.
  void unplug();

 private:
  void set_environment(const std::string& name, const std::string& value);
  void start_daemon(const std::vector<std::string>& sinks, int rate_hz);
  bool answers() const;

  std::filesystem::path folder_;  // home, socket and log of the daemon
  pid_t daemon_ = -1;
  std::string why_not_;
  std::map<std::string, std::optional<std::string>> former_environment_;
};

}  // namespace runnel::rt::testing
