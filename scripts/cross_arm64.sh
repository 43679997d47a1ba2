#!/usr/bin/env bash
# Compiles the engine for 64-bit ARM, so that its NEON kernels are at least known to compile.
# Installs Debian's cross compiler where it is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

compiler=aarch64-linux-gnu-g++
if ! command -v $compiler >/dev/null; then
  as_root=()
  ((EUID == 0)) || as_root=(sudo)
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y \
    --no-install-recommends g++-aarch64-linux-gnu >/dev/null
fi

# -march: as in cmake/target.cmake. Only header libraries from the host, which know no architecture.
build=build-arm64
mkdir -p $build/include
ln -sfn /usr/include/hwy $build/include/hwy
ln -sfn /usr/include/nlohmann $build/include/nlohmann

launcher=()
! command -v ccache >/dev/null || launcher=(ccache)
find engine -name '*.cc' -print0 |
  xargs -0 -P "$(nproc)" -I{} bash -c '
    set -e
    object='$build'/$(echo "$1" | tr / _).o
    "${@:2}" -std=c++20 -O2 -march=armv8-a+crypto -Wall -Wextra -Werror -I. -isystem '$build'/include -c "$1" -o "$object"
  ' _ {} "${launcher[@]}" $compiler
echo "cross: the engine compiles for arm64"
