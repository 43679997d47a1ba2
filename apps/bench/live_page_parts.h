// Drawings of the page of `runnel bench live`.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>

namespace runnel::apps {

/// Waveform, speech, words where they were spoken and where they were printed, lines: lanes over
/// one time axis, to be scrolled. `file`: one of bench_live_files()' report; 16 kHz samples.
std::string live_timeline(const nlohmann::ordered_json& file, std::span<const float> samples);
/// Style of live_timeline().
std::string live_timeline_style();

/// How late each word was, over the recording.
std::string word_lag_chart(const nlohmann::ordered_json& file);

/// Plays the captions as they came, with the sound where the recording is short.
std::string caption_replay(const nlohmann::ordered_json& file, std::span<const float> samples);
std::string caption_replay_style();
/// Goes to the end of the page.
std::string caption_replay_script(const nlohmann::ordered_json& file);

}  // namespace runnel::apps
