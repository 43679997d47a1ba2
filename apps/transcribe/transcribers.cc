#include "apps/transcribe/transcribers.h"

#include <algorithm>
#include <utility>

#include "apps/transcribe/live_output.h"
#include "models/moonshine/hotwords.h"
#include "models/moonshine/live.h"
#include "models/whisper/live.h"

namespace runnel::apps {
namespace {

namespace moonshine = models::moonshine;
namespace whisper = models::whisper;

constexpr double kRowSeconds =
    double(whisper::kFramesPerPosition * whisper::kHop) / whisper::kSampleRateHz;

class WhisperRecording : public RecordingTranscriber {
 public:
  WhisperRecording(const TranscribeOptions& options, const SpeechModel& model)
      : transcriber_(model.whisper, options.decode, make_detector(options)) {}

  void push(std::span<const float> samples, const OnSegment& on_segment) override {
    transcriber_.push(samples, on_segment);
  }
  void finish(const OnSegment& on_segment) override { transcriber_.finish(on_segment); }
  void reset() override { transcriber_.reset(); }
  double done_seconds() const override { return transcriber_.done_seconds(); }
  models::Summary summary() const override { return transcriber_.summary(); }

 private:
  whisper::Transcriber transcriber_;
};

moonshine::LiveTranscriberOptions moonshine_options(const TranscribeOptions& options) {
  const LiveTranscribeOptions& live = options.live;
  moonshine::LiveTranscriberOptions settings;
  if (live.max_line) settings.longest_line = *live.max_line;
  if (live.step) settings.step = *live.step;
  if (!options.is_live()) settings.step = settings.longest_line;  // nobody reads drafts
  if (live.end_silence) {
    settings.silence = *live.end_silence;
    settings.sentence_silence = std::min(settings.sentence_silence, settings.silence);
    settings.no_text_silence = std::max(settings.no_text_silence, settings.silence);
  }
  if (live.after_text_silence) settings.sentence_silence = *live.after_text_silence;
  if (live.tokens_per_second) settings.tokens_per_second = *live.tokens_per_second;
  if (live.no_text_silence) settings.no_text_silence = *live.no_text_silence;
  settings.speech_threshold = options.decode.vad_threshold;
  if (options.has_beam_size) settings.beams = options.decode.beam_size;
  if (options.has_logprob_threshold) {
    settings.logprob_threshold = options.decode.logprob_threshold;
  }
  return settings;
}

std::unique_ptr<moonshine::LiveTranscriber> make_moonshine(const TranscribeOptions& options,
                                                           const SpeechModel& model) {
  moonshine::LiveTranscriberOptions settings = moonshine_options(options);
  if (model.random_weights()) settings.logprob_threshold.reset();  // there is only noise
  std::shared_ptr<const moonshine::Hotwords> hotwords;
  if (!options.decode.hotwords.empty()) {
    hotwords = std::make_shared<const moonshine::Hotwords>(
        moonshine::Hotwords::read_file(options.decode.hotwords), model.moonshine->tokenizer());
  }
  return moonshine::make_live_transcriber(model.moonshine, make_detector(options), settings,
                                          std::move(hotwords));
}

/// Lines become segments.
class MoonshineRecording : public RecordingTranscriber {
 public:
  MoonshineRecording(const TranscribeOptions& options, const SpeechModel& model)
      : transcriber_(make_moonshine(options, model)),
        with_words_(options.decode.word_timestamps || options.colors) {}

  void push(std::span<const float> samples, const OnSegment& on_segment) override {
    transcriber_->push(samples, 0, segments(on_segment));
  }
  void finish(const OnSegment& on_segment) override { transcriber_->finish(segments(on_segment)); }
  void reset() override {
    transcriber_->reset();
    language_.clear();
  }
  double done_seconds() const override { return transcriber_->heard_seconds(); }
  models::Summary summary() const override {
    const models::LiveTotals& totals = transcriber_->totals();
    models::Summary summary;
    summary.language = language_;
    summary.duration = transcriber_->heard_seconds();
    summary.duration_after_vad = transcriber_->fed_seconds();
    summary.timing.decode = totals.pass_seconds;
    summary.timing.windows = int(totals.passes);
    summary.timing.tokens = totals.decoder_steps;
    return summary;
  }

 private:
  models::LiveTranscriber::OnEvent segments(const OnSegment& on_segment) {
    return [this, &on_segment](const models::LiveEvent& event) {
      if (event.kind == models::LiveEvent::Kind::kPartial || event.words.empty()) return;
      models::Segment segment = segment_of(event);
      if (!with_words_) segment.words.clear();
      language_ = event.language;
      on_segment(segment);
    };
  }

  const std::unique_ptr<moonshine::LiveTranscriber> transcriber_;
  const bool with_words_;
  std::string language_;
};

std::unique_ptr<models::LiveTranscriber> make_whisper_live(const TranscribeOptions& options,
                                                           const SpeechModel& model) {
  const LiveTranscribeOptions& live = options.live;
  const whisper::DecodeOptions& decode = options.decode;
  whisper::LiveTranscriberOptions settings;
  settings.policy = live.policy == "align-att" ? whisper::LivePolicy::kAlignAtt
                                               : whisper::LivePolicy::kLocalAgreement;
  if (const whisper::Config& config = model.whisper->config(); config.streaming()) {
    settings.step = std::max(0.1, kRowSeconds * config.stream.chunk);  // a pass a chunk
  }
  if (live.step) settings.step = *live.step;
  if (live.end_silence) settings.silence = *live.end_silence;
  if (live.trim_after) settings.trim_after = *live.trim_after;
  settings.initial_prompt = decode.initial_prompt;
  if (!decode.condition_on_previous_text) settings.prompt_characters = 0;
  settings.compression_ratio_threshold = decode.compression_ratio_threshold;
  settings.logprob_threshold = decode.logprob_threshold;
  settings.no_speech_threshold = decode.no_speech_threshold;
  settings.speech_threshold = decode.vad_threshold;
  return std::make_unique<whisper::LiveTranscriber>(
      whisper::make_live_recogniser(model.whisper, decode, settings.policy), make_detector(options),
      settings);
}

}  // namespace

std::unique_ptr<RecordingTranscriber> make_recording_transcriber(const TranscribeOptions& options,
                                                                 const SpeechModel& model) {
  if (model.whisper) return std::make_unique<WhisperRecording>(options, model);
  return std::make_unique<MoonshineRecording>(options, model);
}

std::unique_ptr<models::LiveTranscriber> make_live_transcriber(const TranscribeOptions& options,
                                                               const SpeechModel& model) {
  if (model.whisper) return make_whisper_live(options, model);
  return make_moonshine(options, model);
}

}  // namespace runnel::apps
