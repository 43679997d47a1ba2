// Live captions: a draft that is verified and continued several times a second.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "models/live_transcriber.h"
#include "models/moonshine/audio_history.h"
#include "models/moonshine/live_recogniser.h"
#include "models/sample_blocks.h"
#include "models/vad.h"

namespace runnel::models::moonshine {

/// Seconds of audio, unless it says otherwise.
struct LiveTranscriberOptions {
  double step = 0.25;  // between passes while somebody speaks

  // Silence that ends an utterance: in the middle of a sentence, after text that ends one, and
  // where nothing was recognised.
  double silence = 0.5;
  double sentence_silence = 0.4;
  double no_text_silence = 1.0;
  /// A line that would get longer is cut; from half of it on at a sentence's end. At most what the
  /// model's position table holds, less 2 s.
  double longest_line = 18;

  double min_speech = 0.1;  // shorter sounds are none
  double lead_in = 0.3;     // heard before the voice is detected
  float speech_threshold = 0.5f;

  // A word is committed when so many passes in a row agree on it, the next one has begun, and its
  // attention is so far from the newest frame.
  int agreeing_passes = 2;
  double commit_margin = 0.2;
  int shown_passes = 2;  // in a row agree on a word before it is shown

  /// Tokens a second beyond which a hypothesis is made up; 0: 16, or 8 with a vocabulary of more
  /// than 4096, whose tokens are words rather than syllables.
  double tokens_per_second = 0;
  int beams = 0;  // see StreamOptions
  /// A pass whose tokens are less likely on the mean (natural logarithm), run away or repeat
  /// themselves is thrown away. None: every pass counts, for benchmarks with random weights.
  std::optional<double> logprob_threshold = -1.5;

  std::string language = "en";  // of events; every public checkpoint is English
};

/// A stream of 16 kHz mono audio in, events out. Passes are due by the audio's own clock, in blocks
/// of 32 ms, so the events don't depend on the chunks that the audio comes in. States:
///
///   idle ──speech for min_speech──► speech ◄──► pause ──long enough──► flush, last pass, idle
///                                   every `step` with new frames: a pass, a partial event;
///                                   a line too long: its begin is final, the rest goes on
///
/// While idle only the detector runs. In speech the audio from `lead_in` before it on is fed, each
/// sample once; from the stream's start on if that is less than 2 s away, where a detector that
/// follows the noise does not know it yet. In a pause audio is fed only as far as the network looks
/// ahead, so that what the next utterance may begin with is not heard twice.
///
/// Blocks are held back until one of them could bring an event: then the detector hears them in a
/// row. A detector that steps each 32 ms finds its weights out of the cache every time.
///
/// Where a line is cut, at least one committed word comes after the cut: the stream starts again at
/// the quietest spot between two words, with the committed words after it as the fixed beginning of
/// its hypothesis. So no word at the seam is lost or said twice.
///
/// Memory: the last `longest_line` and a few seconds of audio, a line of words.
class LiveTranscriber final : public models::LiveTranscriber {
 public:
  /// `detector` null: everything is speech. Throws std::invalid_argument for options out of range,
  /// or a recogniser whose stream holds less than 7 s.
  LiveTranscriber(std::unique_ptr<LiveRecogniser> recogniser,
                  std::unique_ptr<SpeechDetector> detector, const LiveTranscriberOptions& options);

  /// More samples waiting than half a step: passes are put off until it is heard, so the delay
  /// comes back.
  void push(std::span<const float> samples, std::int64_t waiting, const OnEvent& on_event) override;
  void finish(const OnEvent& on_event) override;
  void reset() override;

  double heard_seconds() const noexcept override;
  const LiveTotals& totals() const noexcept override { return totals_; }
  /// Seconds of audio that were fed to the network.
  double fed_seconds() const noexcept;

  /// What a recogniser must hold for these options.
  static StreamOptions stream_options(const LiveTranscriberOptions& options, const Config& config);

 private:
  struct State {
    std::int64_t heard = 0;        // samples
    std::int64_t loud_end = 0;     // of the last block that sounded like speech
    std::int64_t last_voiced = 0;  // the same, once it has lasted for min_speech
    std::int64_t settled = 0;      // no utterance begins before this
    std::int64_t begin = 0;        // of the stream that runs
    std::int64_t fed = 0;          // samples before this were fed to it
    std::int64_t next_pass = 0;
    std::int64_t pass_fed = 0;  // `fed` at the last pass
    bool in_utterance = false;
    int line = 0;
    bool shown = false;  // the running line had an event
    double last_pass_seconds = 0;
    std::vector<LiveWord> committed;  // of the running line, all after `begin`
    std::vector<LiveWord> tail;       // the hypothesis goes on with these
    std::vector<int> draft;           // tokens of committed, then of tail
    std::vector<int> agreement;       // of each of draft: passes in a row that said so
  };

  void hold_block(std::span<const float> samples, std::int64_t waiting, const OnEvent& on_event);
  void hear_held(std::int64_t waiting, const OnEvent& on_event);
  /// No block that ends before this sample brings an event.
  std::int64_t next_event() const noexcept;
  void hear_block(std::span<const float> samples, std::int64_t waiting, const OnEvent& on_event);
  float speech_probability(std::span<const float> samples) noexcept;
  bool is_short_audible_stream() const noexcept;
  void begin_utterance(std::int64_t speech_begin);
  void end_utterance(const OnEvent& on_event);
  std::int64_t ending_silence() const noexcept;

  void start_stream(std::int64_t begin) noexcept;
  void feed(std::int64_t until) noexcept;
  std::int64_t feed_end() const noexcept;
  bool pass_is_due(std::int64_t waiting) noexcept;
  bool pass(bool last);
  enum class Verdict { kTaken, kUnlikely, kRunsAway };
  Verdict judge(Pass& pass, int limit) const noexcept;
  void take(const Pass& pass);
  std::size_t stable_words(const Pass& pass) const noexcept;
  void commit(std::size_t words);
  void drop_tail();
  int fixed_tokens() const noexcept;
  void keep_line_short(const OnEvent& on_event);
  bool must_cut() const noexcept;
  void cut_by_force(const OnEvent& on_event);
  std::int64_t seam_after(std::size_t word) const noexcept;
  void cut(std::size_t words, std::int64_t at, const OnEvent& on_event);
  std::size_t shown_words() const noexcept;
  void emit(LiveEvent::Kind kind, std::size_t words, const OnEvent& on_event);
  void emit_partial(const OnEvent& on_event);

  const LiveTranscriberOptions options_;
  const std::int64_t step_, feed_, longest_, tail_;  // samples
  const double tokens_per_second_;
  std::unique_ptr<LiveRecogniser> recogniser_;
  std::unique_ptr<SpeechDetector> detector_;
  SpeechSegmenter segmenter_;
  AudioHistory history_;
  SampleBlocks blocks_;
  std::vector<float> held_;  // whole blocks that are not heard yet
  State state_;
  LiveTotals totals_;
  std::int64_t fed_samples_ = 0;
  std::string last_shown_;  // so that nothing is told twice
};

/// On a model's Stream.
std::unique_ptr<LiveTranscriber> make_live_transcriber(
    std::shared_ptr<const Model> model, std::unique_ptr<SpeechDetector> detector,
    const LiveTranscriberOptions& options, std::shared_ptr<const TokenBias> hotwords = nullptr);

}  // namespace runnel::models::moonshine
