// An open device: input, output or both, between PortAudio and two rings.
#pragma once

#include <memory>
#include <string>

#include "rt/audio_ring.h"
#include "rt/device.h"
#include "rt/device_io.h"

namespace runnel::rt {

struct DeviceStreamOptions {
  int input_device = -1;    // index from AudioSystem; −1: no input
  int output_device = -1;   // −1: no output
  int rate_hz = 0;          // 0: the device's default (with two devices, one that both take)
  int input_channels = 0;   // 0: up to two of what the device has
  int output_channels = 0;  // 0: up to two of what the device has
  int block_frames = 0;  // a callback's frames; 0: PortAudio chooses, perhaps differently each time
  double device_latency_ms = 0;  // suggested to PortAudio; 0: the device's low default
  PlaybackOptions playback{};    // target_frames 0: twice the larger of block_frames and 10 ms
};

/// Fills in everything that is 0, asking the devices, so that rings can be made to fit. Throws
/// std::runtime_error in one line: no such device, or a rate or channel count that it does not
/// have.
DeviceStreamOptions resolve(const AudioSystem& system, DeviceStreamOptions options);

/// Runs a DeviceIo in PortAudio's callback. The owner's thread, except where it says otherwise.
class DeviceStream {
 public:
  /// Opens, does not start. `options` are resolved ones; a ring is null exactly where its device is
  /// −1, and has the stream's channels and rate (std::invalid_argument). Throws std::runtime_error
  /// in one line if the device cannot be opened. System and rings outlive the stream.
  DeviceStream(AudioSystem& system, const DeviceStreamOptions& options, AudioRing* capture_ring,
               AudioRing* playback_ring);
  /// Stops.
  ~DeviceStream();
  DeviceStream(const DeviceStream&) = delete;
  DeviceStream& operator=(const DeviceStream&) = delete;

  /// Throws std::runtime_error in one line.
  void start();
  /// After the writer's last frame: waits until it has been played, or the stream has died.
  void play_out();
  /// Ends at once and never hangs: a driver that does not answer for two seconds is left behind.
  void stop() noexcept;

  /// False before start(), after stop(), and once the stream has died (unplugged, or no callback
  /// for two seconds).
  bool alive();
  /// Why the stream died, in one line; empty if it did not.
  const std::string& failure() const noexcept { return failure_; }

  /// Counters, delays and drain(). Any thread.
  DeviceIo& io() noexcept { return *io_; }
  const DeviceIo& io() const noexcept { return *io_; }
  /// What PortAudio claims, in ms; 0 where there is no such direction.
  double reported_input_latency_ms() const noexcept { return input_latency_ms_; }
  double reported_output_latency_ms() const noexcept { return output_latency_ms_; }
  /// "USB Mic → Speakers, 48000 Hz, 1 in, 2 out".
  const std::string& description() const noexcept { return description_; }

 private:
  struct Shared;  // what the callback touches; outlives a driver that hangs

  AudioSystem& system_;
  std::shared_ptr<Shared> shared_;
  DeviceIo* io_ = nullptr;  // inside shared_
  std::int64_t started_ns_ = 0;
  bool running_ = false;
  double input_latency_ms_ = 0;
  double output_latency_ms_ = 0;
  std::string description_;
  std::string failure_;
};

}  // namespace runnel::rt
