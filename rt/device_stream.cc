#include "rt/device_stream.h"

#include <portaudio.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <future>
#include <stdexcept>
#include <thread>
#include <utility>

#include "rt/clock.h"

namespace runnel::rt {
namespace {

constexpr std::int64_t kFirstCallbackNs = 5 * kNsPerSecond;  // a Bluetooth device wakes slowly
constexpr std::int64_t kSilentDriverNs = 2 * kNsPerSecond;
constexpr std::chrono::seconds kStopPatience{2};
constexpr std::int64_t kPlayOutPollNs = 5'000'000;  // once, at the end; a callback wakes nobody
constexpr int kDefaultTargetMs = 20;

static_assert(kInputUnderflow == paInputUnderflow && kInputOverflow == paInputOverflow &&
              kOutputUnderflow == paOutputUnderflow && kOutputOverflow == paOutputOverflow);

std::string error_text(PaError error) {
  if (error == paUnanticipatedHostError) {
    const PaHostErrorInfo* host = Pa_GetLastHostErrorInfo();
    if (host && host->errorText && *host->errorText) return host->errorText;
  }
  return Pa_GetErrorText(error);
}

/// What PortAudio wants to know, from resolved options; null where there is no such direction.
struct Parameters {
  Parameters(const AudioSystem& system, const DeviceStreamOptions& options) {
    if (options.input_device >= 0) {
      const DeviceInfo& device = system.device(options.input_device);
      fill(in_, options.input_device, options.input_channels,
           options.device_latency_ms > 0 ? options.device_latency_ms : device.low_input_latency_ms);
      input = &in_;
    }
    if (options.output_device >= 0) {
      const DeviceInfo& device = system.device(options.output_device);
      fill(
          out_, options.output_device, options.output_channels,
          options.device_latency_ms > 0 ? options.device_latency_ms : device.low_output_latency_ms);
      output = &out_;
    }
  }
  Parameters(const Parameters&) = delete;
  Parameters& operator=(const Parameters&) = delete;

  const PaStreamParameters* input = nullptr;
  const PaStreamParameters* output = nullptr;

 private:
  static void fill(PaStreamParameters& parameters, int device, int channels, double latency_ms) {
    parameters.device = device;
    parameters.channelCount = channels;
    parameters.sampleFormat = paFloat32;
    parameters.suggestedLatency = latency_ms / 1e3;
    parameters.hostApiSpecificStreamInfo = nullptr;
  }

  PaStreamParameters in_{};
  PaStreamParameters out_{};
};

int channels_of(const DeviceInfo& device, int asked, int available, const char* kind) {
  if (available < 1) {
    throw std::runtime_error("'" + device.name + "' is no audio " + kind + " device");
  }
  if (asked > available) {
    throw std::runtime_error("'" + device.name + "' has " + std::to_string(available) + " " + kind +
                             " channels, not " + std::to_string(asked));
  }
  return asked > 0 ? asked : std::min(available, 2);
}

std::string describe(const AudioSystem& system, const DeviceStreamOptions& options) {
  std::string text;
  if (options.input_device >= 0) text += system.device(options.input_device).name;
  if (options.input_device >= 0 && options.output_device >= 0) text += " → ";
  if (options.output_device >= 0) text += system.device(options.output_device).name;
  text += ", " + std::to_string(options.rate_hz) + " Hz";
  if (options.input_device >= 0) text += ", " + std::to_string(options.input_channels) + " in";
  if (options.output_device >= 0) text += ", " + std::to_string(options.output_channels) + " out";
  return text;
}

void close(PaStream* stream) {
  Pa_AbortStream(stream);
  Pa_CloseStream(stream);
}

void check_ring(const AudioRing* ring, bool wanted, int channels, int rate_hz, const char* kind) {
  if (!ring && !wanted) return;
  if (!ring || !wanted || ring->channels() != channels || ring->rate_hz() != rate_hz) {
    throw std::invalid_argument(std::string("DeviceStream: the ") + kind +
                                " ring does not fit the device's channels and rate");
  }
}

}  // namespace

DeviceStreamOptions resolve(const AudioSystem& system, DeviceStreamOptions options) {
  if (options.input_device < 0 && options.output_device < 0) {
    throw std::runtime_error("an audio stream needs an input or an output device");
  }
  std::vector<int> rates;
  if (options.input_device >= 0) {
    const DeviceInfo& device = system.device(options.input_device);
    options.input_channels =
        channels_of(device, options.input_channels, device.max_input_channels, "input");
    rates.push_back(device.default_rate_hz);
  }
  if (options.output_device >= 0) {
    const DeviceInfo& device = system.device(options.output_device);
    options.output_channels =
        channels_of(device, options.output_channels, device.max_output_channels, "output");
    rates.push_back(device.default_rate_hz);
  }
  rates.insert(rates.end(), {48000, 44100});
  if (options.rate_hz > 0) rates = {options.rate_hz};

  const QuietStderr quiet;
  const Parameters parameters(system, options);
  PaError error = paNoError;
  for (const int rate_hz : rates) {
    options.rate_hz = rate_hz;
    error = Pa_IsFormatSupported(parameters.input, parameters.output, rate_hz);
    if (error == paFormatIsSupported) break;
  }
  if (error != paFormatIsSupported) {
    throw std::runtime_error("audio devices do not do " + describe(system, options) + ": " +
                             error_text(error));
  }
  if (options.playback.target_frames == 0) {
    options.playback.target_frames =
        std::max(2 * options.block_frames, options.rate_hz * kDefaultTargetMs / 1000);
  }
  return options;
}

/// What the callback touches. stop()'s closer holds a share, so that a driver which hangs never
/// finds it gone. Before the callback touches the rings, which are not ours, it asks whether we are
/// still there.
struct DeviceStream::Shared {
  Shared(AudioRing* capture, AudioRing* playback, const PlaybackOptions& options, int out_channels)
      : io(capture, playback, options), output_channels(out_channels) {}

  static int callback(const void* in, void* out, unsigned long frames,
                      const PaStreamCallbackTimeInfo* /*time*/, PaStreamCallbackFlags flags,
                      void* self) {
    auto& shared = *static_cast<Shared*>(self);
    // Sequentially consistent with stop(): either it sees us inside, or we see it closed.
    shared.inside.store(true);
    const bool closed = shared.closed.load();
    if (!closed) {
      shared.io.process(static_cast<const float*>(in), static_cast<float*>(out), int(frames),
                        now_ns(), unsigned(flags));
    } else if (out) {
      std::memset(out, 0, frames * std::size_t(shared.output_channels) * sizeof(float));
    }
    shared.inside.store(false);
    return closed ? paAbort : paContinue;
  }
  static void on_finished(void* self) {
    static_cast<Shared*>(self)->finished.store(true, std::memory_order_relaxed);
  }

  DeviceIo io;
  const int output_channels;
  PaStream* stream = nullptr;
  std::atomic<bool> inside{false};    // the callback is running
  std::atomic<bool> closed{false};    // the callback must not touch the rings any more
  std::atomic<bool> finished{false};  // PortAudio says that the stream has ended
};

DeviceStream::DeviceStream(AudioSystem& system, const DeviceStreamOptions& options,
                           AudioRing* capture_ring, AudioRing* playback_ring)
    : system_(system), description_(describe(system, options)) {
  check_ring(capture_ring, options.input_device >= 0, options.input_channels, options.rate_hz,
             "capture");
  check_ring(playback_ring, options.output_device >= 0, options.output_channels, options.rate_hz,
             "playback");
  shared_ = std::make_shared<Shared>(capture_ring, playback_ring, options.playback,
                                     options.output_channels);
  io_ = &shared_->io;

  const QuietStderr quiet;
  const Parameters parameters(system, options);
  const unsigned long block = options.block_frames > 0 ? (unsigned long)(options.block_frames)
                                                       : paFramesPerBufferUnspecified;
  const PaError error =
      Pa_OpenStream(&shared_->stream, parameters.input, parameters.output, options.rate_hz, block,
                    paDitherOff, &Shared::callback, shared_.get());
  if (error != paNoError) {
    throw std::runtime_error("audio device cannot be opened (" + description_ +
                             "): " + error_text(error));
  }
  Pa_SetStreamFinishedCallback(shared_->stream, &Shared::on_finished);
  if (const PaStreamInfo* info = Pa_GetStreamInfo(shared_->stream)) {
    input_latency_ms_ = 1e3 * info->inputLatency;
    output_latency_ms_ = 1e3 * info->outputLatency;
  }
}

DeviceStream::~DeviceStream() { stop(); }

void DeviceStream::start() {
  if (!shared_->stream) throw std::runtime_error("audio stream was stopped (" + description_ + ")");
  const QuietStderr quiet;
  started_ns_ = now_ns();
  if (const PaError error = Pa_StartStream(shared_->stream); error != paNoError) {
    throw std::runtime_error("audio device cannot be started (" + description_ +
                             "): " + error_text(error));
  }
  running_ = true;
}

bool DeviceStream::alive() {
  if (!running_ || !failure_.empty()) return false;
  const std::int64_t last_ns = io_->last_callback_ns();
  const std::int64_t silent_ns = now_ns() - std::max(last_ns, started_ns_);
  if (shared_->finished.load(std::memory_order_relaxed) ||
      Pa_IsStreamActive(shared_->stream) != 1) {
    failure_ = "audio device stopped by itself, perhaps unplugged (" + description_ + ")";
  } else if (silent_ns > (last_ns == 0 ? kFirstCallbackNs : kSilentDriverNs)) {
    failure_ = "audio device has not called for " + std::to_string(silent_ns / kNsPerSecond) +
               " s, perhaps unplugged (" + description_ + ")";
  }
  return failure_.empty();
}

void DeviceStream::play_out() {
  io_->drain();
  while (!io_->drained()) {
    if (!alive()) return;
    sleep_until_ns(now_ns() + kPlayOutPollNs);
  }
  sleep_until_ns(now_ns() +
                 std::int64_t(1e6 * output_latency_ms_));  // still in the device's buffer
}

void DeviceStream::stop() noexcept {
  if (!shared_->stream) return;
  running_ = false;
  PaStream* const stream = std::exchange(shared_->stream, nullptr);
  // In a thread that can be left behind, because ALSA may wait for a dead device for ever.
  std::thread closer;
  std::future<void> closed;
  try {
    std::promise<void> promise;
    closed = promise.get_future();
    closer = std::thread([shared = shared_, stream, promise = std::move(promise)]() mutable {
      close(stream);
      promise.set_value();
    });
  } catch (const std::exception&) {  // no thread is granted: most drivers answer
    close(stream);
    return;
  }
  if (closed.wait_for(kStopPatience) == std::future_status::ready) {
    closer.join();
  } else {
    closer.detach();
    system_.abandon();
    shared_->closed.store(true);
    while (shared_->inside.load()) sleep_until_ns(now_ns() + kPlayOutPollNs);  // some µs
  }
}

}  // namespace runnel::rt
