#!/usr/bin/env bash
# Installs what is missing (Debian packages), builds the release program at build/bin/runnel, and
# pulls a small model that hears people (whisper-tiny.en, 75 to 155 MB) unless one is there.
#   --with-tests   also the tests, and what tests, sanitizers, fuzzers and the format check need;
#                  no model
#   --with-reading also a recording of a person, for demo.sh
#   --packages     only install
#   --offline      no model
set -euo pipefail
cd "$(dirname "$0")/.."

usage() { sed -n '2,8s/^# \{0,1\}//p' "$0"; }
fail() { echo "setup: $*" >&2; exit 1; }

tests=OFF build=yes model=yes reading=no
for argument in "$@"; do
  case $argument in
    --with-tests) tests=ON model=no ;;
    --with-reading) reading=yes ;;
    --packages) build=no ;;
    --offline) model=no ;;
    -h | --help) usage; exit 0 ;;
    *) echo "setup: unknown option '$argument'" >&2; usage >&2; exit 2 ;;
  esac
done

packages=(g++ cmake ninja-build pkg-config libeigen3-dev libspdlog-dev libhwy-dev libcli11-dev
  nlohmann-json3-dev libfftw3-dev libsamplerate0-dev libsndfile1-dev libmpg123-dev portaudio19-dev
  libconcurrentqueue-dev zlib1g-dev)
if [[ $tests == ON ]]; then
  packages+=(ccache libgtest-dev libgmock-dev libbenchmark-dev clang-format pulseaudio
    pulseaudio-utils libasound2-plugins sox ffmpeg)
fi
[[ $model == no ]] || packages+=(curl ca-certificates)  # for pulling it
[[ $reading == no ]] || packages+=(pocketsphinx-testdata)

missing=()
for package in "${packages[@]}"; do
  [[ $(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null) == ii* ]] ||
    missing+=("$package")
done
if ((${#missing[@]})); then
  command -v apt-get >/dev/null || fail "install by hand: ${missing[*]} (no apt-get here)"
  as_root=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null || fail "install by hand, as root: ${missing[*]} (no sudo here)"
    as_root=(sudo)
  fi
  echo "setup: installing ${missing[*]}"
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  run_apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq "$@" >"$log" 2>&1; }
  # A stale package list is the usual reason for a failure, so refresh it first.
  run_apt update || { tail -5 "$log" >&2; fail "apt-get update failed"; }
  run_apt install -y --no-install-recommends "${missing[@]}" ||
    { tail -15 "$log" >&2; fail "apt-get could not install ${missing[*]}"; }
fi
[[ $build == yes ]] || exit 0

echo "setup: building build/bin/runnel"
mkdir -p build
# Warnings are errors in CI alone: another compiler than ours may know more of them.
cmake --preset release -DRUNNEL_BUILD_TESTS=$tests -DRUNNEL_WERROR="${RUNNEL_WERROR:-OFF}" \
  >build/configure.log 2>&1 || { tail -20 build/configure.log >&2; fail "cmake failed"; }
# Ninja's own lines on a terminal; in a pipe only what went wrong.
if [[ -t 1 ]]; then
  cmake --build build || fail "the build failed"
else
  cmake --build build >build/build.log 2>&1 ||
    { grep -A 20 -m 3 -E 'error|FAILED' build/build.log >&2 || tail -30 build/build.log >&2
      fail "the build failed"; }
fi
echo "setup: done, $(build/bin/runnel --version | head -1)"

# One that hears people is worth a download; that none comes is no failure.
runnel=build/bin/runnel
if [[ $model == yes ]] && $runnel models default | grep -q '^live:  moonshine-runnel-en .inside'; then
  echo "setup: pulling whisper-tiny.en, which hears people (75 to 155 MB; --offline leaves it out)"
  $runnel models pull default ||
    echo "setup: the model inside the program answers; for people, later: $runnel models pull default"
fi
