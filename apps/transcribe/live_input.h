// Where live audio comes from: a microphone, a file or a pipe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "apps/transcribe/transcribe.h"
#include "rt/audio_ring.h"
#include "rt/interrupt.h"

namespace runnel::apps {

/// Writes into a ring from start() on. Inheritance at the device's boundary. The owner's thread.
class LiveInput {
 public:
  virtual ~LiveInput() = default;

  virtual int rate_hz() const = 0;
  virtual int channels() const = 0;
  /// Audio comes by itself, at 1×.
  virtual bool is_paced() const = 0;
  /// Notifies the ring's reader of what it writes, and main of its end. Otherwise both look by the
  /// clock.
  virtual bool notifies() const = 0;
  /// What it is, for people; empty where its name says all.
  virtual std::string description() const { return {}; }

  /// Opens what is to write into `ring`, which has this rate and these channels and outlives it.
  virtual void open(rt::AudioRing& ring) = 0;
  virtual void start() = 0;
  /// Nothing more will come, by itself and not because of a stop.
  virtual bool has_ended() = 0;
  /// Ends now. What was read until then is in the ring.
  virtual void stop() = 0;
  /// After stop(): one line on what was read over, or empty …
  virtual std::string warning() const { return {}; }
  /// Samples that no model can take, and that were changed before they were handed on.
  virtual std::int64_t bad_samples() const { return 0; }
  /// … on whether all of it was there …
  virtual bool is_whole() const { return true; }
  /// … and, once it has ended, on why that was too early; throws nothing.
  virtual std::string failure() const = 0;
  /// Whether Ctrl-C is the usual end.
  virtual bool is_endless() const = 0;
};

/// `input`: "mic", "-" or a file. `stop` ends reads early. Throws std::runtime_error in one line.
std::unique_ptr<LiveInput> open_live_input(const std::string& input,
                                           const TranscribeOptions& options,
                                           const rt::Interrupt& stop);

}  // namespace runnel::apps
