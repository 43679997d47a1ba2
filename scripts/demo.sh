#!/usr/bin/env bash
# Builds runnel and separates a noisy recording: as fast as possible, then at the pace of a
# microphone with the live meter. Options go to both runs, for example --attenuation-limit 12.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh
input=assets/demo/noisy-speech.wav
[[ -f $input ]] || { echo "demo: $input is missing" >&2; exit 1; }
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
