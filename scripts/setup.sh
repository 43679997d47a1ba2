#!/usr/bin/env bash
# Installs Debian's packages and builds a release; the program is then build/bin/runnel.
#   --with-tests   also builds the tests and installs what they need
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(g++ cmake ninja-build ccache pkg-config git
  portaudio19-dev libsamplerate0-dev libfftw3-dev libeigen3-dev libconcurrentqueue-dev
  libspdlog-dev libsndfile1-dev libcli11-dev nlohmann-json3-dev libhwy-dev)
tests=OFF
for argument in "$@"; do
  case "$argument" in
    --with-tests)
      tests=ON
      packages+=(libgtest-dev libgmock-dev libbenchmark-dev pulseaudio pulseaudio-utils
        libasound2-plugins sox clang-format)
      ;;
    *)
      echo "setup.sh: expected --with-tests or nothing, found '$argument'" >&2
      exit 2
      ;;
  esac
done

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if ((${#missing[@]})); then
  echo "Installing: ${missing[*]}"
  sudo=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null || {
      echo "setup.sh: these packages are missing and there is no sudo; as root: apt-get install ${missing[*]}" >&2
      exit 1
    }
    sudo=(sudo)
  fi
  export DEBIAN_FRONTEND=noninteractive
  "${sudo[@]}" apt-get update -qq
  "${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

cmake --preset release -DRUNNEL_BUILD_TESTS=$tests -DRUNNEL_WERROR=OFF >/dev/null
cmake --build build
echo "Built build/bin/runnel"
