#include "apps/transcribe/live_input.h"

#include <optional>

#include "rt/device_stream.h"
#include "rt/pump.h"
#include "rt/reason.h"
#include "rt/stop_signal.h"

namespace runnel::apps {
namespace {

constexpr int kBlockFrames = 512;

class Microphone : public LiveInput {
 public:
  explicit Microphone(const LiveTranscribeOptions& live)
      : chosen_(rt::resolve(system_, {.input_device = system_.find_input(live.input_device).index,
                                      .block_frames = kBlockFrames,
                                      .device_latency_ms = live.device_latency_ms})) {}

  int rate_hz() const override { return chosen_.rate_hz; }
  int channels() const override { return chosen_.input_channels; }
  bool is_paced() const override { return true; }
  bool notifies() const override { return false; }  // its callback may not
  bool is_endless() const override { return true; }
  std::string description() const override { return stream_ ? stream_->description() : ""; }

  void open(rt::AudioRing& ring) override { stream_.emplace(system_, chosen_, &ring, nullptr); }
  void start() override { stream_->start(); }
  bool has_ended() override { return !stream_->alive(); }
  void stop() override { stream_->stop(); }
  std::string failure() const override { return stream_->failure(); }

 private:
  rt::AudioSystem system_;
  const rt::DeviceStreamOptions chosen_;
  std::optional<rt::DeviceStream> stream_;
};

class Recording : public LiveInput {
 public:
  Recording(const std::string& input, const TranscribeOptions& options, const rt::Interrupt& stop)
      : source_(rt::open_source(input, options.source, &stop)), realtime_(options.live.realtime) {}

  int rate_hz() const override { return source_->rate_hz(); }
  int channels() const override { return source_->channels(); }
  bool is_paced() const override { return realtime_; }
  bool notifies() const override { return true; }
  bool is_endless() const override { return false; }

  void open(rt::AudioRing& ring) override { ring_ = &ring; }
  void start() override {
    pump_.emplace(*source_, *ring_,
                  rt::SourcePumpOptions{.block_frames = kBlockFrames,
                                        .realtime = realtime_,
                                        .owner = &rt::StopSignal::wakeup()});
  }
  bool has_ended() override { return pump_->finished() && !source_->was_cut(); }
  void stop() override { pump_->stop(); }
  std::string warning() const override { return source_->warning(); }
  std::int64_t bad_samples() const override { return source_->bad_samples(); }
  bool is_whole() const override { return source_->complete(); }
  std::string failure() const override {
    try {
      pump_->rethrow_if_failed();
    } catch (const std::exception& error) {
      return rt::reason(error);
    }
    return {};
  }

 private:
  const std::unique_ptr<rt::AudioSource> source_;
  const bool realtime_;
  rt::AudioRing* ring_ = nullptr;
  std::optional<rt::SourcePump> pump_;  // last: its thread uses the rest
};

}  // namespace

std::unique_ptr<LiveInput> open_live_input(const std::string& input,
                                           const TranscribeOptions& options,
                                           const rt::Interrupt& stop) {
  if (input == "mic") return std::make_unique<Microphone>(options.live);
  return std::make_unique<Recording>(input, options, stop);
}

}  // namespace runnel::apps
