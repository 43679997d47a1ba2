#!/usr/bin/env bash
# Builds runnel and shows one of:
#   captions   live captions of a recording, at its own pace, and their six figures (the default)
#   separate   speech out of a noisy recording: as fast as possible, then live with a meter
# --offline: neither a model nor a recording of a person is fetched (scripts/setup.sh --help); the
# recording is a synthetic voice's then. Further options go to `runnel transcribe` (for example
# -m whisper-base) or `runnel separate` (for example --attenuation-limit 12).
set -euo pipefail
cd "$(dirname "$0")/.."

usage() { sed -n '2,7s/^# \{0,1\}//p' "$0"; }
fail() { echo "demo: $*" >&2; exit 1; }

what=captions
case ${1:-} in
  captions | separate) what=$1; shift ;;
  -h | --help) usage; exit 0 ;;
esac

offline=()
for argument; do
  shift
  [[ $argument == --offline ]] && offline=(--offline) || set -- "$@" "$argument"
done

# Five sentences of a public-domain reading of "Sense and Sensibility" (Debian's
# pocketsphinx-testdata), joined to one WAV with their text beside it.
join_reading() {
  local folder=$1 wav=$2 pause=16000 part bytes=0  # of half a second, 16 kHz mono 16 bit
  for part in "$folder"/*.wav; do bytes=$((bytes + $(stat -c %s "$part") - 44 + pause)); done
  little_endian() {  # as escapes for printf
    printf '\\x%02x' $(($1 & 255)) $(($1 >> 8 & 255)) $(($1 >> 16 & 255)) $(($1 >> 24))
  }
  {
    printf '%b' "RIFF$(little_endian $((bytes + 36)))"
    head -c 40 "$part" | tail -c +9  # WAVE, the format, "data"
    printf '%b' "$(little_endian $bytes)"
    for part in "$folder"/*.wav; do tail -c +45 "$part"; head -c $pause /dev/zero; done
  } >"$wav"
  sed 's/^<s> *//; s/ *<\/s>.*//' "$folder/transcription" >"${wav%.*}.txt"
}

captions() {
  local input=assets/demo/captions.flac out=captions
  local reading=/usr/share/pocketsphinx/test/data/librivox model
  mkdir -p $out
  [[ -d $reading || -n ${offline[*]} ]] || scripts/setup.sh --packages --offline --with-reading ||
    echo "demo: a synthetic voice reads, since there is no recording of a person"
  if [[ -d $reading ]]; then
    input=$out/reading.wav
    join_reading $reading $input
  fi
  local reference=${input%.*}.txt
  [[ -f $input ]] || fail "$input is missing"
  # Captions and page are of one model: the best one here, unless an option names another.
  if [[ " $* " != *" -m"* && " $* " != *" --model"* && " $* " != *" --random-weights"* ]]; then
    model=$(build/bin/runnel models default | sed -n 's/^live:  \(.*\) (.*/\1/p')
    set -- -m "$model" "$@"
    echo "demo: captions by $model"
  fi
  echo
  echo "1. $input, captioned while it plays; dimmed words may still change:"
  echo
  # Frames and events are kept; the six figures are the table at the end.
  build/bin/runnel transcribe "$input" --realtime --stats $out/live.json "$@" 2>$out/figures.txt ||
    { cat $out/figures.txt >&2; exit 1; }
  echo
  echo "2. How late that was, and what it took (docs/live.md says how each is measured):"
  echo
  cat $out/figures.txt
  echo
  echo "3. Beside what is said in it, as a page with the time of every word:"
  build/bin/runnel bench live "$input" --reference "$reference" --accelerated \
    --html $out/timeline.html --json $out/timeline.json "$@" >$out/timeline.txt
  grep -E '^(WER|page)' $out/timeline.txt | sed 's/^/  /'
  echo
  echo "Now with your voice:    build/bin/runnel transcribe mic"
  echo "Into another program:   build/bin/runnel transcribe mic --format jsonl"
  echo "Speech without noise:   scripts/demo.sh separate"
}

separate() {
  local input=assets/demo/noisy-speech.wav
  [[ -f $input ]] || fail "$input is missing"
  mkdir -p separated
  echo
  echo "1. $input, as fast as possible:"
  build/bin/runnel separate "$input" -o separated --stats separated/fast.json "$@" |
    tee separated/fast.txt
  echo
  echo "2. The same at the pace of a microphone, with a live meter on a terminal:"
  build/bin/runnel separate "$input" -o separated/live --realtime --stats separated/live.json "$@" |
    tee separated/live.txt
  echo
  echo "The separated speech and background:"
  find separated -path '*noisy-speech/*' -type f | sort | sed 's/^/  /'
  echo "Measured:"
  sed 's/^/  as fast as possible: /' separated/fast.txt
  # The delays alone; runnel's line starts with what was written.
  sed -n 's/.*\(delay [0-9].*\)/  live: \1/p' separated/live.txt
  echo "  every counter and histogram: separated/fast.json, separated/live.json"
}

scripts/setup.sh "${offline[@]}"
$what "$@"
