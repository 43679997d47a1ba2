#!/usr/bin/env bash
# Builds with tests and runs them, then the kernels' and models' under every instruction set that
# the processor has.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh --with-tests

# The program refuses what the processor or it itself cannot run. But what the
# processor has it must not refuse: that would leave kernels untested without a word.
runnable=()
for isa in generic avx2 avx512 amx; do
  case $isa in
    generic) has=yes ;;
    avx2) has=$(grep -qw avx2 /proc/cpuinfo && grep -qw fma /proc/cpuinfo && echo yes || echo no) ;;
    avx512) has=$(grep -qw avx512bw /proc/cpuinfo && grep -qw avx512vl /proc/cpuinfo &&
      echo yes || echo no) ;;
    amx) has=$(grep -qw amx_int8 /proc/cpuinfo && grep -qw amx_bf16 /proc/cpuinfo &&
      grep -qw avx512_bf16 /proc/cpuinfo && echo yes || echo no) ;;
  esac
  if ! refusal=$(RUNNEL_ISA=$isa build/bin/runnel bench gtcrn --seconds 1 2>&1 >/dev/null); then
    [[ $has != yes || $(uname -m) != x86_64 ]] ||
      { echo "test: RUNNEL_ISA=$isa fails on a processor that has it: $refusal" >&2; exit 1; }
    echo "test: RUNNEL_ISA=$isa is left out: not run by this program on this processor"
    continue
  fi
  runnable+=("$isa")
done

# The last is the one that the program chooses by itself: ctest runs that. The others each on a core
# of its own, two at a time; what one prints comes when it has ended.
unset 'runnable[-1]'
run_isa() {
  local log
  log=$(mktemp)
  echo "test: engine and models under RUNNEL_ISA=$1" >"$log"
  RUNNEL_ISA=$1 build/bin/engine_tests --gtest_brief=1 >>"$log" 2>&1 &&
    RUNNEL_ISA=$1 build/bin/models_tests --gtest_brief=1 >>"$log" 2>&1
  local failed=$?
  cat "$log"
  rm -f "$log"
  return "$failed"
}
export -f run_isa
[[ ${#runnable[@]} == 0 ]] || printf '%s\n' "${runnable[@]}" | xargs -P 2 -I ISA bash -c 'run_isa ISA'

# Last, so that ctest's summary closes the output.
ctest --test-dir build --output-on-failure -j2
