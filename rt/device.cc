#include "rt/device.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <portaudio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <stdexcept>
#include <system_error>

#include "rt/descriptor.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#endif

namespace runnel::rt {
namespace {

/// ALSA's plug-ins keep what they allocate when they are loaded; that is not for the leak check.
void check_leaks([[maybe_unused]] bool on) noexcept {
#if defined(__SANITIZE_ADDRESS__)
  on ? __lsan_enable() : __lsan_disable();
#endif
}

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(),
                 [](unsigned char c) { return char(std::tolower(c)); });
  return result;
}

std::string list(const std::vector<const DeviceInfo*>& devices) {
  std::string text;
  for (const DeviceInfo* device : devices) {
    if (!text.empty()) text += ", ";
    text += std::to_string(device->index) + " '" + device->name + "'";
  }
  return text;
}

void say_nothing(const char* /*file*/, int /*line*/, const char* /*function*/, int /*error*/,
                 const char* /*format*/, ...) {}

/// ALSA prints each underrun to stderr from the device's thread. Looked up by name, because ALSA
/// comes with PortAudio or not at all.
void silence_alsa() {
  using Handler = void (*)(const char*, int, const char*, int, const char*, ...);
  using SetHandler = int (*)(Handler);
  const auto set_handler =
      reinterpret_cast<SetHandler>(dlsym(RTLD_DEFAULT, "snd_lib_error_set_handler"));
  if (set_handler != nullptr) set_handler(&say_nothing);
}

/// With fewer, PortAudio aborts, tries for a second each of the dozens of names that ALSA has, or
/// finds less than there is.
void check_descriptors() {
  std::array<Descriptor, 32> free;
  for (std::size_t found = 0; found < free.size(); ++found) {
    free[found] = Descriptor(open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (free[found].get() >= 0) continue;
    const std::string why = std::generic_category().message(errno);
    throw std::runtime_error("audio devices need " + std::to_string(free.size()) +
                             " free descriptors, found " + std::to_string(found) + ": " + why);
  }
}

/// PortAudio aborts where ALSA's configuration is missing or names no device. Looked up by name as
/// above; without ALSA there is nothing to look at.
bool alsa_is_configured() {
  const auto function = [](const char* name) { return dlsym(RTLD_DEFAULT, name); };
  using Node = void*;
  const auto update = reinterpret_cast<int (*)()>(function("snd_config_update"));
  const auto top = static_cast<Node*>(function("snd_config"));
  const auto search =
      reinterpret_cast<int (*)(Node, const char*, Node*)>(function("snd_config_search"));
  const auto first = reinterpret_cast<void* (*)(Node)>(function("snd_config_iterator_first"));
  const auto end = reinterpret_cast<void* (*)(Node)>(function("snd_config_iterator_end"));
  if (!update || !top || !search || !first || !end) return true;
  Node names = nullptr;
  return update() >= 0 && *top != nullptr && search(*top, "pcm", &names) == 0 &&
         first(names) != end(names);
}

double milliseconds(double seconds) { return 1e3 * seconds; }

DeviceInfo describe(int index) {
  const PaDeviceInfo& device = *Pa_GetDeviceInfo(index);
  return {.index = index,
          .name = device.name,
          .host_api = Pa_GetHostApiInfo(device.hostApi)->name,
          .max_input_channels = device.maxInputChannels,
          .max_output_channels = device.maxOutputChannels,
          .default_rate_hz = int(std::lround(device.defaultSampleRate)),
          .low_input_latency_ms = milliseconds(device.defaultLowInputLatency),
          .high_input_latency_ms = milliseconds(device.defaultHighInputLatency),
          .low_output_latency_ms = milliseconds(device.defaultLowOutputLatency),
          .high_output_latency_ms = milliseconds(device.defaultHighOutputLatency),
          .default_input = index == Pa_GetDefaultInputDevice(),
          .default_output = index == Pa_GetDefaultOutputDevice()};
}

}  // namespace

const DeviceInfo& find_device(const std::vector<DeviceInfo>& devices, std::string_view query,
                              DeviceDirection direction) {
  const bool input = direction == DeviceDirection::kInput;
  const std::string kind = input ? "input" : "output";
  const auto is_default = [&](const DeviceInfo* device) {
    return input ? device->default_input : device->default_output;
  };

  std::vector<const DeviceInfo*> usable;
  for (const DeviceInfo& device : devices) {
    if ((input ? device.max_input_channels : device.max_output_channels) > 0) {
      usable.push_back(&device);
    }
  }
  if (usable.empty()) {
    throw std::runtime_error("no audio " + kind + " device was found" +
                             (query.empty() ? "" : " (asked for '" + std::string(query) + "')"));
  }
  const auto fail = [&](const std::string& what) {
    throw std::runtime_error(what + "; there are " + list(usable));
  };

  if (query.empty()) {
    const auto found = std::find_if(usable.begin(), usable.end(), is_default);
    if (found == usable.end()) fail("there is no default audio " + kind + " device: name one");
    return **found;
  }
  int index = 0;
  const auto [end, error] = std::from_chars(query.data(), query.data() + query.size(), index);
  if (error == std::errc() && end == query.data() + query.size()) {
    for (const DeviceInfo* device : usable) {
      if (device->index == index) return *device;
    }
    fail("no audio " + kind + " device has the number " + std::string(query));
  }

  const std::string wanted = lower(query);
  std::vector<const DeviceInfo*> matches;
  for (const DeviceInfo* device : usable) {
    if (lower(device->name) == wanted) return *device;
    if (lower(device->name).find(wanted) != std::string::npos) matches.push_back(device);
  }
  if (matches.empty()) fail("no audio " + kind + " device is called '" + std::string(query) + "'");
  if (matches.size() == 1) return *matches.front();
  const auto found = std::find_if(matches.begin(), matches.end(), is_default);
  if (found != matches.end()) return **found;
  throw std::runtime_error("'" + std::string(query) + "' could be any of the audio " + kind +
                           " devices " + list(matches));
}

AudioSystem::AudioSystem() {
  const QuietStderr quiet;
  silence_alsa();
  check_descriptors();
  if (!alsa_is_configured()) return;
  if (const PaError error = Pa_Initialize(); error != paNoError) {
    throw std::runtime_error(std::string("PortAudio cannot start: ") + Pa_GetErrorText(error));
  }
  try {
    const int count = Pa_GetDeviceCount();  // negative: an error, which leaves no devices
    for (int index = 0; index < count; ++index) devices_.push_back(describe(index));
  } catch (...) {
    Pa_Terminate();
    throw;
  }
  started_ = true;
}

AudioSystem::~AudioSystem() {
  if (!started_) return;
  const QuietStderr quiet;
  Pa_Terminate();
}

const DeviceInfo& AudioSystem::find_input(std::string_view query) const {
  return find_device(devices_, query, DeviceDirection::kInput);
}

const DeviceInfo& AudioSystem::find_output(std::string_view query) const {
  return find_device(devices_, query, DeviceDirection::kOutput);
}

const DeviceInfo& AudioSystem::device(int index) const {
  if (index < 0 || index >= int(devices_.size())) {
    throw std::runtime_error("no audio device has the number " + std::to_string(index) +
                             "; there are " + std::to_string(devices_.size()));
  }
  return devices_[std::size_t(index)];
}

QuietStderr::QuietStderr() noexcept {
  check_leaks(false);
  std::fflush(stderr);
  const int nothing = open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (nothing < 0) return;
  saved_ = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
  if (saved_ >= 0) dup2(nothing, STDERR_FILENO);
  close(nothing);
}

QuietStderr::~QuietStderr() {
  check_leaks(true);
  if (saved_ < 0) return;
  std::fflush(stderr);
  dup2(saved_, STDERR_FILENO);
  close(saved_);
}

}  // namespace runnel::rt
