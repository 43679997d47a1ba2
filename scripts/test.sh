#!/usr/bin/env bash
# Builds with tests and runs them, then the kernels' and models' under every instruction set of this processor.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh --with-tests
ctest --test-dir build --output-on-failure -j2
for isa in generic avx2 avx512 amx; do
  if RUNNEL_ISA=$isa build/bin/runnel models >/dev/null 2>&1; then
    echo "RUNNEL_ISA=$isa"
    RUNNEL_ISA=$isa build/bin/models_tests --gtest_brief=1
    RUNNEL_ISA=$isa build/bin/engine_tests --gtest_brief=1
  else
    echo "RUNNEL_ISA=$isa: not run by this program on this processor"
  fi
done
