#!/bin/bash
# run.sh FOLDER [options of train.py]: voices and training side by side on one machine, until the
# training ends. FOLDER holds corpus.json.gz, folder/ (corpus.py, tokenizer.py) and, if there are
# to be more voices, engines/ (engines.sh); it gets bank/, tests/ and run/. Put it on a file system
# in memory (/dev/shm). VOICES: how many processes speak. GPUS: how many train, otherwise all.
set -euo pipefail
code=$(cd "$(dirname "$0")" && pwd)
cd "$1"
shift
gpus=${GPUS:-$(nvidia-smi --list-gpus 2>/dev/null | wc -l)}
voices=${VOICES:-$(($(nproc) - gpus))}
export PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1
export PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True
texts=(--corpus corpus.json.gz --tokenizer folder/tokenizer.json)
[[ ! -d engines ]] || texts+=(--engines engines)
mkdir -p bank tests run
python3 "$code/voices.py" "${texts[@]}" --out bank --check
setsid python3 "$code/voices.py" "${texts[@]}" --out bank --workers "$voices" --seed "${SEED:-1}" \
  --keep 300 >voices.log 2>&1 &
speaking=$!
trap 'kill -- -$speaking' EXIT  # the speakers are a process group
[[ -n $(ls tests) ]] || python3 "$code/voices.py" "${texts[@]}" --out tests --test --count 100 \
  --workers 8 --seed 3 >tests.log 2>&1 &
train=(python3)
if ((gpus > 1)); then
  train+=(-m torch.distributed.run --nproc-per-node "$gpus")
  export GLOO_SOCKET_IFNAME=lo NCCL_SOCKET_IFNAME=lo
fi
"${train[@]}" "$code/train.py" --shards bank --folder folder --out run --tests tests "$@"
