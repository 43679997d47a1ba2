#include "models/whisper/speech_gate.h"

#include <algorithm>
#include <utility>

#include "models/whisper/config.h"
#include "models/whisper/stopwatch.h"

namespace runnel::models::whisper {
namespace {

constexpr int kBlock = SpeechDetector::kBlock;
constexpr std::int64_t kPauseSamples = std::int64_t(SpeechGate::kPauseSeconds) * kSampleRateHz;

/// Short pauses stay, so that sentences keep their rhythm, and words their beginnings and ends.
SpeechSegmenterOptions gate_options(float threshold) {
  return {.threshold = threshold, .min_speech_ms = 128, .min_silence_ms = 2000, .padding_ms = 400};
}

constexpr std::int64_t samples_of(int ms) { return std::int64_t(ms) * kSampleRateHz / 1000; }

}  // namespace

SpeechGate::SpeechGate(std::unique_ptr<SpeechDetector> detector, float threshold)
    : detector_(std::move(detector)), options_(gate_options(threshold)), segmenter_(options_) {}

void SpeechGate::push(std::span<const float> samples, const OnSpeech& on_speech,
                      const OnPause& on_pause) {
  while (!samples.empty()) {
    const int n = std::min<int>(int(samples.size()), kBlock - partial_samples_);
    std::copy_n(samples.begin(), n, partial_.begin() + partial_samples_);
    partial_samples_ += n;
    samples = samples.subspan(n);
    if (partial_samples_ == kBlock) take_block(on_speech, on_pause);
  }
}

void SpeechGate::finish(const OnSpeech& on_speech, const OnPause& on_pause) {
  const std::int64_t total = at_ + partial_samples_;
  if (partial_samples_ > 0) {
    std::fill(partial_.begin() + partial_samples_, partial_.end(), 0.0f);
    take_block(on_speech, on_pause);
  }
  SpeechSpan span;
  // A click shortly before the end is not made longer by the silence after it.
  const bool speech = loud_end_ - loud_begin_ > samples_of(options_.min_speech_ms);
  if (segmenter_.finish(total, span) && speech) {
    hand_on(span.begin, std::min(span.end, total), on_speech);
  }
  if (open_) on_pause();
  open_ = false;
}

void SpeechGate::reset() {
  detector_->reset();
  segmenter_.reset();
  blocks_.clear();
  first_ = at_ = handed_ = loud_begin_ = loud_end_ = 0;
  open_ = false;
  partial_samples_ = 0;
  seconds_ = 0;
}

std::int64_t SpeechGate::settled() const noexcept {
  return std::max(handed_, std::min(segmenter_.settled(), at_));
}

void SpeechGate::take_block(const OnSpeech& on_speech, const OnPause& on_pause) {
  const Stopwatch stopwatch;
  const float probability = detector_->step(std::span<const float, kBlock>(partial_));
  seconds_ += stopwatch.seconds();
  blocks_.push_back({partial_, probability});
  partial_samples_ = 0;
  at_ += kBlock;

  SpeechSpan span;
  const bool was_speaking = segmenter_.speaking();
  const bool is_final = segmenter_.push(probability, span);
  if (segmenter_.speaking() && !was_speaking) loud_begin_ = at_ - kBlock;
  if (probability >= options_.threshold) loud_end_ = at_;
  if (is_final) {
    hand_on(span.begin, span.end, on_speech);
  } else if (segmenter_.speaking() && probability >= options_.threshold &&
             at_ - segmenter_.speech_begin() >=
                 samples_of(options_.min_speech_ms + options_.padding_ms) + kBlock) {
    // Loud right now and long enough: whenever it ends, it ends after this.
    hand_on(segmenter_.settled(), at_, on_speech);
  } else if (open_ && !segmenter_.speaking() && at_ - handed_ >= kPauseSamples) {
    open_ = false;
    on_pause();
  }
  const std::int64_t keep = settled();
  while (!blocks_.empty() && first_ + kBlock <= keep) {
    blocks_.pop_front();
    first_ += kBlock;
  }
}

/// Hands on what of [begin, end) has not been, in pieces of a block.
void SpeechGate::hand_on(std::int64_t begin, std::int64_t end, const OnSpeech& on_speech) {
  begin = std::max({begin, handed_, first_});
  end = std::min(end, at_);
  while (begin < end) {
    const auto index = std::size_t((begin - first_) / kBlock);
    const std::int64_t block = first_ + std::int64_t(index) * kBlock;
    const std::int64_t until = std::min(end, block + kBlock);
    const std::span<const float> samples(blocks_[index].samples);
    on_speech(samples.subspan(begin - block, until - begin), begin, blocks_[index].probability);
    begin = until;
    handed_ = until;
    open_ = true;
  }
}

}  // namespace runnel::models::whisper
