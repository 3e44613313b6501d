#!/usr/bin/env bash
# Extracts features in several processes, one per GPU, or on a CPU where there is none.
set -euo pipefail

if (($# < 4)); then
    echo "usage: bash $0 CONFIG CHECKPOINT OUT GPUS [arguments of extract_features.py]
  on several machines, on each: NNODES=2 NODE_RANK=0 MASTER_ADDR=host PORT=29500 bash $0 ...
  with OUT in a folder that all of them share" >&2
    exit 2
fi
config=$1 checkpoint=$2 out=$3 gpus=$4
shift 4

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=$(bash "$tools/setup_env.sh" --which)
export PYTHONPATH=$tools/..${PYTHONPATH:+:$PYTHONPATH}
# Decoding runs in the data loader's workers; more threads per process fight over the cores.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec "$python" "$tools/launch.py" \
    --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" --nproc_per_node="$gpus" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" \
    "$tools/extract_features.py" "$config" "$checkpoint" "$out" --launcher pytorch "$@"
