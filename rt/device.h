// The sound cards of this machine, through PortAudio.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace runnel::rt {

struct DeviceInfo {
  int index = -1;  // PortAudio's, valid while the AudioSystem lives
  std::string name{};
  std::string host_api{};
  int max_input_channels = 0;
  int max_output_channels = 0;
  int default_rate_hz = 0;
  double low_input_latency_ms = 0;  // what PortAudio suggests, not what was measured
  double high_input_latency_ms = 0;
  double low_output_latency_ms = 0;
  double high_output_latency_ms = 0;
  bool default_input = false;
  bool default_output = false;
};

enum class DeviceDirection { kInput, kOutput };

/// Empty query: the default device. A number: that index. Otherwise a part of the name, any case:
/// an exact match wins, then the only match, then a default device among several. Throws
/// std::runtime_error in one line that names the query and lists what there is.
const DeviceInfo& find_device(const std::vector<DeviceInfo>& devices, std::string_view query,
                              DeviceDirection direction);

/// PortAudio, started while at least one AudioSystem lives. Keeps ALSA's and JACK's chatter off
/// stderr. Use one, from main's thread; it outlives its streams.
class AudioSystem {
 public:
  /// Throws std::runtime_error in one line if PortAudio cannot start. Having no device is not an
  /// error.
  AudioSystem();
  ~AudioSystem();
  AudioSystem(const AudioSystem&) = delete;
  AudioSystem& operator=(const AudioSystem&) = delete;

  /// As they were at construction; PortAudio does not see what is plugged in later.
  const std::vector<DeviceInfo>& devices() const noexcept { return devices_; }
  const DeviceInfo& find_input(std::string_view query) const;
  const DeviceInfo& find_output(std::string_view query) const;
  /// Throws std::runtime_error for an index that is none.
  const DeviceInfo& device(int index) const;

  /// A stream of it hangs in the driver: do not wait for it at the end.
  void abandon() noexcept { started_ = false; }

 private:
  std::vector<DeviceInfo> devices_;
  bool started_ = false;  // and to be ended
};

/// Points stderr at nothing while it lives, because ALSA and JACK print there whatever we do.
/// Set-up only, one thread.
class QuietStderr {
 public:
  QuietStderr() noexcept;
  ~QuietStderr();
  QuietStderr(const QuietStderr&) = delete;
  QuietStderr& operator=(const QuietStderr&) = delete;

 private:
  int saved_ = -1;
};

}  // namespace runnel::rt
