// The captions once more, at the pace at which they came.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>

#include "apps/bench/live_page_parts.h"
#include "apps/report.h"

namespace runnel::apps {
namespace {

using nlohmann::ordered_json;

constexpr std::size_t kMostSamples = 60 * 16'000;  // with sound: 2.6 MB of page

void append_number(std::string& bytes, std::uint32_t value, int size) {
  for (int i = 0; i < size; ++i) bytes += char(value >> 8 * i & 0xFF);
}

/// 16-bit WAV, 16 kHz mono.
std::string wav_bytes(std::span<const float> samples) {
  const auto data = std::uint32_t(2 * samples.size());
  std::string bytes = "RIFF";
  append_number(bytes, 36 + data, 4);
  bytes += "WAVEfmt ";
  append_number(bytes, 16, 4);
  append_number(bytes, 1, 2);  // PCM
  append_number(bytes, 1, 2);
  append_number(bytes, 16'000, 4);
  append_number(bytes, 32'000, 4);
  append_number(bytes, 2, 2);
  append_number(bytes, 16, 2);
  bytes += "data";
  append_number(bytes, data, 4);
  for (const float sample : samples) {
    const long value = std::lround(32767 * std::clamp(sample, -1.0f, 1.0f));
    append_number(bytes, std::uint32_t(value), 2);
  }
  return bytes;
}

std::string base64(const std::string& bytes) {
  constexpr const char* kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t word = 0;
    for (std::size_t k = 0; k < 3; ++k) {
      word = word << 8 | (i + k < bytes.size() ? std::uint8_t(bytes[i + k]) : 0);
    }
    for (int k = 0; k < 4; ++k) text += kDigits[word >> (18 - 6 * k) & 63];
  }
  const std::size_t left = bytes.size() % 3;
  if (left > 0) text.replace(text.size() - (3 - left), 3 - left, 3 - left, '=');
  return text;
}

constexpr const char* kScript = R"(
const $ = id => document.getElementById(id);
const lanes = $('lanes'), head = $('head'), scroll = $('scroll'), sound = $('sound');
const scale = +lanes.dataset.scale, left = +lanes.dataset.left;
const last = events.length ? Math.max(...events.map(e => e[0])) + 0.5 : 0;
const total = Math.max(seconds, last);
let position = total, started = 0, playing = false;
function draw() {
  let lines = [], running = ['', ''];
  for (const [at, final, text, settled] of events) {
    if (at > position) break;
    if (final) { if (text) lines.push(text); running = ['', '']; }
    else running = [settled, text.slice(settled.length)];
  }
  lines = lines.slice(-3);
  $('past').textContent = lines.join('\n');
  $('settled').textContent = running[0];
  $('open').textContent = running[1];
  $('clock').textContent = position.toFixed(1) + ' s';
  const x = left + scale * position;
  head.setAttribute('x1', x); head.setAttribute('x2', x);
  if (playing) scroll.scrollLeft = x - scroll.clientWidth / 2;
}
function stop() { playing = false; if (sound) sound.pause(); $('play').textContent = 'Play'; }
function frame(now) {
  if (!playing) return;
  position = Math.min(total, (now - started) / 1000);
  draw();
  if (position >= total) stop(); else requestAnimationFrame(frame);
}
function play() {
  if (position >= total) position = 0;
  playing = true;
  $('play').textContent = 'Pause';
  started = performance.now() - 1000 * position;
  if (sound && position < seconds) { sound.currentTime = position; sound.play(); }
  requestAnimationFrame(frame);
}
$('play').onclick = () => playing ? stop() : play();
lanes.onclick = e => {
  const was = playing;
  stop();
  position = (e.clientX - lanes.getBoundingClientRect().left - left) / scale;
  position = Math.min(total, Math.max(0, position));
  draw();
  if (was) play();
};
const mark = on => e => {
  const of = e.target.closest('[data-w]');
  if (!of) return;
  for (const each of document.querySelectorAll(`[data-w="${of.dataset.w}"]`))
    each.classList.toggle('on', on);
};
document.addEventListener('mouseover', mark(true));
document.addEventListener('mouseout', mark(false));
draw();
)";

}  // namespace

std::string caption_replay(const ordered_json&, std::span<const float> samples) {
  std::string html =
      "<div class='captions'><span id='past'></span>\n<span id='settled'></span>"
      "<span id='open'></span></div><div class='controls'><button id='play'>Play</button>"
      "<span id='clock'></span><span>Dimmed words may still change. A click on the timeline goes "
      "there.</span></div>";
  if (!samples.empty() && samples.size() <= kMostSamples) {
    html +=
        "<audio id='sound' src='data:audio/wav;base64," + base64(wav_bytes(samples)) + "'></audio>";
  }
  return html;
}

std::string caption_replay_style() {
  return R"(
.captions{background:#101214;color:#fff;border-radius:10px;padding:16px 20px;min-height:132px;
font-size:20px;line-height:1.45;white-space:pre-wrap
}
#past{color:#c9d1d9}#open{color:#8b949e}
.controls{display:flex;gap:16px;align-items:center;margin-top:12px;color:var(--dim);font-size:14px}
#clock{font-variant-numeric:tabular-nums;min-width:56px;color:var(--ink)}
button{font:inherit;font-weight:600;color:#fff;background:#2563eb;border:0;border-radius:8px;
padding:7px 20px;cursor:pointer})";
}

std::string caption_replay_script(const ordered_json& file) {
  ordered_json events = ordered_json::array();
  for (const ordered_json& event : file["timeline"]["events"]) {
    events.push_back(
        {event["emitted"], event["type"] == "final", event["text"], event["committed"]});
  }
  std::string data = dump(events);
  // A text cannot end the script.
  for (std::size_t at = 0; (at = data.find('<', at)) != std::string::npos;) {
    data.replace(at, 1, "\\u003c");
  }
  return "<script>const events = " + data +
         ", seconds = " + dump(file["figures"]["audio_seconds"]) + ";" + kScript + "</script>";
}

}  // namespace runnel::apps
