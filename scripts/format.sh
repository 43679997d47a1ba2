#!/usr/bin/env bash
# Formats every source file; --check only says which are not formatted, and fails.
set -euo pipefail
cd "$(dirname "$0")/.."

mode=(-i)
[[ "${1:-}" == --check ]] && mode=(--dry-run -Werror)
git ls-files -z '*.h' '*.cc' | xargs -0 clang-format "${mode[@]}"
