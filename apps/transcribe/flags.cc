// The command line of `runnel transcribe`: the names that users of openai-whisper and
// faster-whisper know, with dashes.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <optional>

#include "apps/model_store.h"
#include "apps/subcommand.h"
#include "apps/text.h"
#include "apps/transcribe/transcribe.h"

namespace runnel::apps {
namespace {

constexpr const char* kExamples = R"(Examples:
  runnel transcribe mic                                 captions while you speak (English)
  runnel transcribe talk.mp3                            text with times, as it becomes final
  runnel transcribe talk.mp3 -f srt > talk.srt          subtitles
  runnel transcribe mic other.wav --realtime -f jsonl   several at once, told apart by "source"
  runnel transcribe *.wav -m turbo -f srt,json -o out   several files, weights loaded once
  runnel transcribe film.wav -m small -l de --task translate -f vtt -o .
  runnel transcribe song.flac -m base -f lrc --highlight-words -o .
  runnel transcribe call.wav --channel each -f srt      who said what: a file a channel
  ffmpeg -v error -i talk.mkv -f wav - | runnel transcribe - -m ggml-base-q5_1.bin
  runnel transcribe a.wav --random-weights turbo --stats stats.json   a benchmark

Without -m it is the best model that is here, else the one inside the program (runnel models default).
Others come by: runnel models pull default)";

/// "--name: expected …, found 'text'"
UsageError wrong(const std::string& option, const std::string& expected, const std::string& text) {
  return UsageError("--" + option + ": expected " + expected + ", found '" + text + "'");
}

double number(const std::string& option, const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !std::isfinite(value)) throw wrong(option, "a number", text);
  return value;
}

std::vector<double> numbers(const std::string& option, const std::string& text) {
  std::vector<double> list;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t comma = std::min(text.find(',', at), text.size());
    list.push_back(number(option, text.substr(at, comma - at)));
    at = comma + 1;
  }
  return list;
}

/// "none" (or Python's None) and nothing are no value.
std::optional<double> optional_number(const std::string& option, const std::string& text) {
  if (text.empty() || text == "none" || text == "None") return {};
  return number(option, text);
}

bool is_stream(const std::string& input) { return input == "-"; }

ChannelChoice parse_channel(const std::string& text) {
  if (text == "mix") return {};
  if (text == "each") return {.each = true};
  int channel = 0;
  const char* const last = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data(), last, channel);
  if (error != std::errc() || end != last || channel < 1) {
    throw wrong("channel", "a number from 1 on, mix or each", text);
  }
  return {.only = channel};
}

}  // namespace

TranscribeFlags::TranscribeFlags(CLI::App& app) {
  app.footer(kExamples);
  add_input(app);
  add_model(app);
  add_decoding(app);
  add_thresholds(app);
  add_words(app);
  add_output(app);
  add_live_flags(app, options_.live);
}

void TranscribeFlags::add_input(CLI::App& app) {
  app.add_option("inputs", options_.inputs, "Audio files, or mic, or - for stdin")
      ->type_name("INPUT");
  source_.add_to(app);
  app.add_option("--channel", channel_,
                 "Which channel is heard: mix (their mean), a number from 1 on, or each by itself "
                 "with its name")
      ->type_name("N|mix|each")
      ->capture_default_str();
  app.add_option("--clip-timestamps", clips_,
                 "Only these stretches: seconds of start,end,start,end,… (the last end may lack)")
      ->type_name("LIST");
}

void TranscribeFlags::add_model(CLI::App& app) {
  const std::string group = "Model";
  app.add_option(
         "-m,--model", options_.model,
         "A folder (Hugging Face, faster-whisper), a .bin or .pt file, or a name (runnel models); "
         "without: the best that is here, else the one inside the program")
      ->type_name("DIR|FILE|NAME")
      ->group(group);
  app.add_option("--model-dir", options_.model_folder, "Where names are looked up first")
      ->type_name("DIR")
      ->group(group);
  app.add_option("--random-weights", options_.random_weights,
                 "A public model's shape with random weights: for benchmarks, the text is noise")
      ->type_name("NAME")
      ->excludes("--model")
      ->group(group);
  app.add_option("--window-semantics", windows_,
                 "Moonshine: how its encoder's windows are counted (MODEL.md)")
      ->check(CLI::IsMember({"strict", "inclusive"}))
      ->capture_default_str()
      ->group(group);
  app.add_option("--precision,--compute-type", precision_,
                 "auto, float32, bfloat16, float16 or int8 [RUNNEL_COMPUTE_PRECISION]")
      ->type_name("P")
      ->group(group);
  app.add_option("--memory-usage", memory_, "minimal, balanced or performance")
      ->type_name("USE")
      ->group(group);
  app.add_option("-t,--threads", threads_, "0: as many as physical cores [RUNNEL_NUM_THREADS]")
      ->check(CLI::Range(0, 1024))
      ->group(group);
}

void TranscribeFlags::add_decoding(CLI::App& app) {
  models::whisper::DecodeOptions& decode = options_.decode;
  const std::string group = "Decoding";
  app.add_option("-l,--language", language_, "A code or a name; auto: from the first 30 seconds")
      ->capture_default_str()
      ->group(group);
  app.add_option("--task", task_, "transcribe, or translate into English")
      ->check(CLI::IsMember({"transcribe", "translate"}))
      ->capture_default_str()
      ->group(group);
  app.add_option("--temperature", temperature_,
                 "One, from which it rises on failure, or the list of all to try")
      ->capture_default_str()
      ->group(group);
  app.add_option("--temperature-increment-on-fallback", increment_,
                 "By how much the one temperature rises, up to 1; none: it doesn't")
      ->capture_default_str()
      ->group(group);
  app.add_option("--best-of", decode.best_of, "Samples at temperatures above 0")
      ->check(CLI::Range(1, 8))
      ->capture_default_str()
      ->group(group);
  beam_option_ = app.add_option("--beam-size", decode.beam_size,
                                "Beams at temperature 0; 1: greedy, fastest (Moonshine: what the "
                                "model's generation_config.json says)")
                     ->check(CLI::Range(1, 8))
                     ->capture_default_str()
                     ->group(group);
  app.add_option("--patience", decode.patience, "Of beam search; 1: the usual one")
      ->check(above_zero())
      ->capture_default_str()
      ->group(group);
  app.add_option("--length-penalty", length_penalty_, "Exponent; none: the mean of a beam's tokens")
      ->type_name("FLOAT")
      ->group(group);
  app.add_option("--max-tokens,--max-new-tokens", decode.max_tokens,
                 "New tokens of a window; 0: half the text context")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str()
      ->group(group);
  app.add_option("--suppress-tokens", suppress_,
                 "Ids that never come, with commas; -1: the checkpoint's list; none: no ids")
      ->type_name("LIST")
      ->capture_default_str()
      ->group(group);
  app.add_flag("--suppress-blank,!--no-suppress-blank", decode.suppress_blank,
               "Don't begin with a blank (default: on)")
      ->group(group);
  app.add_option("--initial-prompt", decode.initial_prompt, "What was said before: names, spelling")
      ->group(group);
  app.add_option("--prefix", decode.prefix, "Text that the first window begins with")->group(group);
  app.add_option("--hotwords", decode.hotwords,
                 "Words to expect, in every window; for Moonshine a file: a phrase a line, with a "
                 "weight after a tab")
      ->type_name("TEXT|FILE")
      ->group(group);
  app.add_flag("--condition-on-previous-text,!--no-condition-on-previous-text",
               decode.condition_on_previous_text,
               "The text so far is the next window's prompt (default: on)")
      ->group(group);
  app.add_flag("--without-timestamps,--no-timestamps", decode.without_timestamps,
               "Don't let the model tell times: windows are segments")
      ->group(group);
  app.add_option("--max-initial-timestamp", decode.max_initial_timestamp,
                 "Seconds into a window by which its first segment begins")
      ->check(CLI::Range(0.0, 30.0))
      ->capture_default_str()
      ->group(group);
  app.add_option("--seed", decode.seed, "Of sampling: the same seed gives the same text")
      ->capture_default_str()
      ->group(group);
}

void TranscribeFlags::add_thresholds(CLI::App& app) {
  const std::string group = "Silence and failures";
  app.add_option("--compression-ratio-threshold", compression_ratio_,
                 "Text that zips better repeats itself: try again; none: don't")
      ->type_name("FLOAT")
      ->capture_default_str()
      ->group(group);
  logprob_option_ = app.add_option("--logprob-threshold,--log-prob-threshold", logprob_,
                                   "Mean log-probability below which to try again (Moonshine, "
                                   "-1.5: to leave out); none: don't")
                        ->type_name("FLOAT")
                        ->capture_default_str()
                        ->group(group);
  app.add_option("--no-speech-threshold", no_speech_,
                 "No-speech probability above which an unlikely window is silence; none: never")
      ->type_name("FLOAT")
      ->capture_default_str()
      ->group(group);
  app.add_option("--hallucination-silence-threshold", hallucination_silence_,
                 "Seconds of silence around text that make it suspect; needs word times")
      ->type_name("FLOAT")
      ->group(group);
  app.add_flag("--vad,--vad-filter,!--no-vad", options_.vad,
               "Transcribe only where somebody speaks (default: on)")
      ->group(group);
  app.add_option("--vad-threshold", options_.decode.vad_threshold,
                 "Speech probability from which somebody speaks")
      ->check(CLI::Range(0.01, 0.99))
      ->capture_default_str()
      ->group(group);
  app.add_option(
         "--vad-model", options_.vad_model,
         "What hears speech: vad-runnel (default, in the program), energy (level alone), or a\n"
         "path: Silero VAD's safetensors file or its folder")
      ->type_name("NAME|PATH")
      ->group(group);
}

void TranscribeFlags::add_words(CLI::App& app) {
  models::whisper::DecodeOptions& decode = options_.decode;
  SubtitleLayout& layout = options_.layout;
  const std::string group = "Words and subtitles";
  app.add_flag("--word-timestamps", decode.word_timestamps, "When each word begins and ends")
      ->group(group);
  app.add_flag("--highlight-words", layout.highlight_words,
               "Underline each word as it is spoken (srt, vtt); its time in lrc")
      ->group(group);
  app.add_option("--max-line-width", layout.max_line_width, "Characters of a subtitle's line")
      ->check(CLI::Range(1, 100'000))
      ->group(group);
  app.add_option("--max-line-count", layout.max_line_count,
                 "Lines of a subtitle; needs --max-line-width")
      ->check(CLI::Range(1, 1000))
      ->needs("--max-line-width")
      ->group(group);
  app.add_option("--max-words-per-line", layout.max_words_per_line, "Words of a subtitle")
      ->check(CLI::Range(1, 100'000))
      ->group(group);
  app.add_option("--prepend-punctuations", decode.prepend_punctuations,
                 "Marks that belong to the next word")
      ->group(group);
  app.add_option("--append-punctuations", decode.append_punctuations,
                 "Marks that belong to the word before")
      ->group(group);
}

void TranscribeFlags::add_output(CLI::App& app) {
  const std::string group = "Output";
  app.add_option("-f,--format,--output-format", format_,
                 "txt, srt, vtt, json, jsonl, tsv, lrc, several with commas, or all")
      ->group(group);
  app.add_option("-o,--out,--output-dir", output_,
                 "Folder of the files (all formats unless -f says which), or - for stdout")
      ->type_name("DIR")
      ->group(group);
  app.add_flag("--colors", options_.colors, "Colour the text by confidence, red to green")
      ->group(group);
  auto* verbose =
      app.add_flag("-v,--verbose", options_.verbose, "Show the text also where it goes to files");
  verbose->group(group);
  app.add_flag("-q,--quiet", options_.quiet, "No progress and no reports, only errors")
      ->excludes(verbose)
      ->group(group);
  app.add_option("--stats", options_.stats, "Times, counters and memory as JSON; - is stdout")
      ->type_name("FILE")
      ->group(group);
  add_force(app, options_.force)->group(group);
}

void TranscribeFlags::apply_decoding() {
  models::whisper::DecodeOptions& decode = options_.decode;
  decode.task = task_ == "translate" ? models::Task::kTranslate : models::Task::kTranscribe;
  try {
    decode.language = language_ == "auto" || language_ == "None"
                          ? std::string()
                          : std::string(models::whisper::language_code(language_));
  } catch (const std::invalid_argument& error) {
    throw UsageError("--language: " + std::string(error.what()));
  }
  decode.temperatures = numbers("temperature", temperature_);
  const auto increment = optional_number("temperature-increment-on-fallback", increment_);
  if (decode.temperatures.size() == 1 && increment && *increment > 0) {
    const double first = decode.temperatures[0];
    for (int i = 1; first + i * *increment <= 1 + 1e-6; ++i) {
      // Not 0.6000000000000001.
      decode.temperatures.push_back(std::round(1e6 * (first + i * *increment)) / 1e6);
      if (i == 100) throw wrong("temperature-increment-on-fallback", "at least 0.01", increment_);
    }
  }
  decode.suppress_tokens.clear();
  if (!suppress_.empty() && suppress_ != "none") {
    for (const double id : numbers("suppress-tokens", suppress_)) {
      if (id != std::floor(id) || id < -1 || id > 1e6) {
        throw wrong("suppress-tokens", "token ids with commas", suppress_);
      }
      decode.suppress_tokens.push_back(int(id));
    }
  }
  decode.length_penalty = optional_number("length-penalty", length_penalty_);
  decode.compression_ratio_threshold =
      optional_number("compression-ratio-threshold", compression_ratio_);
  options_.has_beam_size = beam_option_->count() > 0;
  options_.has_logprob_threshold = logprob_option_->count() > 0;
  decode.logprob_threshold = optional_number("logprob-threshold", logprob_);
  decode.no_speech_threshold = optional_number("no-speech-threshold", no_speech_);
  decode.hallucination_silence_threshold =
      optional_number("hallucination-silence-threshold", hallucination_silence_);
  if (options_.layout.needs_words() || decode.hallucination_silence_threshold) {
    decode.word_timestamps = true;
  }
}

void TranscribeFlags::apply_output() {
  if (!format_.empty()) options_.formats = parse_formats(format_);
  options_.colors = options_.colors && may_escape();
  // Lines of live events say which input they come from.
  const bool told_apart = options_.is_live() && options_.formats.size() == 1 &&
                          options_.formats[0] == TranscriptFormat::kJsonl;
  // So do lines of text, of which channel.
  const bool channels_told =
      options_.formats.size() == 1 && (options_.formats[0] == TranscriptFormat::kJsonl ||
                                       options_.formats[0] == TranscriptFormat::kTxt);
  const bool many = (options_.inputs.size() > 1 && !told_apart) || options_.formats.size() > 1 ||
                    (options_.channel.each && !channels_told);
  if (output_.empty()) {
    options_.to_files = !options_.formats.empty() && many;
  } else if (output_ != "-") {
    options_.to_files = true;
    options_.folder = output_;
    if (format_.empty()) options_.formats = parse_formats("all");
  } else if (!options_.formats.empty() && many) {
    throw UsageError(
        "transcribe: -o - with --format takes one input and one format, and with --channel each "
        "txt or jsonl");
  }
}

void TranscribeFlags::check() const {
  if (options_.inputs.empty()) throw UsageError("transcribe: expected audio files, mic or -");
  const bool streams = std::any_of(options_.inputs.begin(), options_.inputs.end(), is_stream);
  if (options_.inputs.size() > 1 && streams && !options_.is_live()) {
    throw UsageError("transcribe: - takes no other inputs beside it, found " +
                     std::to_string(options_.inputs.size()));
  }
  for (const char* only_once : {"mic", "-"}) {
    if (std::count(options_.inputs.begin(), options_.inputs.end(), only_once) > 1) {
      throw UsageError(std::string("transcribe: expected ") + only_once + " once, found it twice");
    }
  }
  if (options_.stats == "-" && !options_.to_files) {
    throw UsageError("transcribe: stdout cannot hold both the text and --stats -; give -o DIR");
  }
  for (std::size_t i = 1; i < options_.clips.size(); ++i) {
    if (options_.clips[i] < options_.clips[i - 1]) {
      throw wrong("clip-timestamps", "seconds that don't fall", clips_);
    }
  }
  if (!options_.clips.empty() && options_.clips[0] < 0) {
    throw wrong("clip-timestamps", "seconds from 0 on", clips_);
  }
}

TranscribeOptions TranscribeFlags::options() {
  options_.compute = engine::ComputeConfig::from_environment();
  try {
    if (!precision_.empty()) {
      const auto chosen = engine::ComputeConfig::of(precision_);
      options_.compute.encoder = chosen.encoder;
      options_.compute.decoder = chosen.decoder;
      options_.compute.automatic = chosen.automatic;
    }
    if (!memory_.empty()) options_.compute.memory = engine::parse_memory_usage(memory_);
  } catch (const std::invalid_argument& error) {
    throw UsageError(error.what());
  }
  if (threads_ > 0) options_.compute.threads = threads_;
  if (windows_ == "inclusive") {
    options_.windows = models::moonshine::WindowSemantics::kInclusive;
  }
  options_.channel = parse_channel(channel_);
  if (!clips_.empty()) options_.clips = numbers("clip-timestamps", clips_);
  apply_decoding();
  apply_output();
  check();
  options_.source = source_.options(
      "transcribe", std::any_of(options_.inputs.begin(), options_.inputs.end(), is_stream));
  return options_;
}

}  // namespace runnel::apps
