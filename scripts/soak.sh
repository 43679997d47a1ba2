#!/usr/bin/env bash
# Minutes of live separation at 1x with 64-frame blocks beside a busy core; fails on any drop and on
# growth of memory or delay.
#   scripts/soak.sh [SECONDS]     default 600
# The demo recording is played over and over through a pipe. The first tenth, at least 10 s, is
# warm-up for memory. The delay of the whole run is compared with that of a short run before it.
set -euo pipefail
cd "$(dirname "$0")/.."

duration=${1:-600}
[[ $duration =~ ^[0-9]+$ ]] && ((duration >= 20)) ||
  { echo "soak: expected at least 20 seconds, found '$duration'" >&2; exit 2; }
runnel=${RUNNEL:-build/bin/runnel}
[[ -x $runnel ]] || { echo "soak: $runnel is missing; run scripts/setup.sh first" >&2; exit 1; }
input=${INPUT:-assets/demo/noisy-speech.wav}  # 16 kHz mono
[[ -f $input ]] || { echo "soak: $input is missing" >&2; exit 1; }
max_growth_kb=1024

work=$(mktemp -d)
children=()
cleanup() {
  ((${#children[@]})) && kill "${children[@]}" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT

# The recording as raw floats; runnel itself converts it, so no other program is needed.
"$runnel" separate "$input" --mix 0 --stem speech --float32 -o "$work" >/dev/null
wav=$(find "$work" -name '*.wav' | head -1)
# --mix 0: `speech` is the input. Behind the header, which is shorter than 256 bytes, a quarter of
# a kilobyte of audio more or less does not matter: 64 whole samples are left out.
feed() { while :; do tail -c +257 "$wav"; done; }

# number FILE SECTION KEY: the first number of that key after the section's name.
number() {
  awk -v section="\"$2\":" -v key="\"$3\":" '
    index($0, section) { inside = 1 }
    inside && index($0, key) { sub(/.*:[ ]*/, ""); sub(/[,}].*/, ""); print; exit }' "$1"
}

# soak NAME SECONDS: one run; its memory every second goes to NAME.rss (KiB).
soak() {
  feed 2>/dev/null >"$work/pipe" &
  local feeder=$!
  "$runnel" separate - --raw f32le --rate 16000 --channels 1 --realtime --block-frames 64 \
    --duration "$2" -o "$work/$1" --stats "$work/$1.json" <"$work/pipe" >"$work/$1.txt" &
  local program=$!
  children+=("$feeder" "$program")
  while kill -0 $program 2>/dev/null; do
    awk '/^VmRSS/ { print $2 }' /proc/$program/status 2>/dev/null >>"$work/$1.rss" || true
    sleep 1
  done
  wait $program || { cat "$work/$1.txt" >&2; echo "soak: runnel failed" >&2; exit 1; }
  kill $feeder 2>/dev/null || true
  wait $feeder 2>/dev/null || true
}
mkfifo "$work/pipe"

while :; do :; done &
children+=($!)

echo "soak: $duration s at 1x, 64-frame blocks (4 ms), beside a busy core"
soak start 10
soak whole "$duration"

warm_up=$((duration / 10 > 10 ? duration / 10 : 10))
read -r first last < <(awk -v skip="$warm_up" '
  NR > skip { rss[++n] = $1 }
  END { print rss[1] + 0, rss[n] + 0 }' "$work/whole.rss")
start_p50=$(number "$work/start.json" end_to_end_written p50_ms)
p50=$(number "$work/whole.json" end_to_end_written p50_ms)
p999=$(number "$work/whole.json" end_to_end_written p99_9_ms)
max=$(number "$work/whole.json" end_to_end_written max_ms)
drops=$(number "$work/whole.json" counters dropped_frames)
misses=$(number "$work/whole.json" counters deadline_misses)
sed 's/^/soak: /' "$work/whole.txt"
echo "soak: memory $first KiB after the warm-up, $last KiB at the end"
echo "soak: delay p50 $p50 ms (first 10 s alone: $start_p50), p99.9 $p999, max $max"
echo "soak: $drops frames dropped, $misses deadline misses"

status=0
complain() { echo "soak: FAILED: $*" >&2; status=1; }
[[ $drops == 0 ]] || complain "$drops frames dropped"
((last - first <= max_growth_kb)) || complain "memory grew by $((last - first)) KiB"
awk -v a="$p50" -v b="$start_p50" 'BEGIN { exit !(a <= b + 4) }' ||
  complain "the delay grew from $start_p50 to $p50 ms"
((status == 0)) && echo "soak: passed"
exit $status
