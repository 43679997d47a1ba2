#!/usr/bin/env bash
# Fuzzes the file readers with libFuzzer under AddressSanitizer, one after the other.
#   scripts/fuzz.sh [SECONDS [TARGET…]]     default 240 s each, all targets
# Needs clang and libclang-rt-dev. New inputs stay in build-fuzz/corpus; findings in build-fuzz.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-240}
targets=("${@:2}")
((${#targets[@]})) || targets=(safetensors torch_checkpoint ggml_checkpoint
                               ctranslate2_checkpoint gtcrn_config htdemucs_config whisper_config
                               moonshine_config network tokenizer_json wav_header)
build=${FUZZ_BUILD:-build-fuzz}
command -v clang++ >/dev/null ||
  { echo "fuzz: clang++ is missing; install clang and libclang-rt-dev" >&2; exit 1; }

cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_C_COMPILER=clang \
  -DCMAKE_CXX_COMPILER=clang++ -DRUNNEL_BUILD_FUZZERS=ON \
  -DRUNNEL_SANITIZE=address,undefined,fuzzer-no-link >/dev/null
cmake --build "$build" --target "${targets[@]/#/fuzz_}"
for target in "${targets[@]}"; do
  mkdir -p "$build/corpus/$target"
  echo "fuzz: $target, $seconds s"
  # No input here is longer than 16 KiB, so one allocation beyond 16 MiB is a finding. The limit on
  # all memory leaves room for what the sanitizer itself keeps.
  "$build/bin/fuzz_$target" -max_total_time="$seconds" -max_len=16384 -malloc_limit_mb=16 \
    -rss_limit_mb=1024 -timeout=5 \
    -print_final_stats=1 -artifact_prefix="$build/$target-" \
    "$build/corpus/$target" "tests/fuzz/corpus/$target" >"$build/$target.log" 2>&1 ||
    { tail -40 "$build/$target.log" >&2; echo "fuzz: $target: a finding, see $build" >&2; exit 1; }
  grep -E '^(Done|stat::(number_of|average|peak))' "$build/$target.log" | sed 's/^/  /'
done
