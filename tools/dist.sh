#!/usr/bin/env bash
# Runs a tool in several processes, one per GPU, or on a CPU where there is none. dist_train.sh,
# dist_test.sh, dist_extract_features.sh, slurm_train.sh and slurm_test.sh call it.
#
#   bash tools/dist.sh pytorch TOOL ARGUMENTS GPUS [more arguments]
#   bash tools/dist.sh slurm TOOL PARTITION JOB_NAME ARGUMENTS [more arguments]
#
# pytorch: on several machines, on each: NNODES=2 NODE_RANK=0 MASTER_ADDR=host PORT=29500
# slurm: GPUS, GPUS_PER_NODE, CPUS_PER_TASK, SRUN_ARGS, PORT
set -euo pipefail

launcher=$1 tool=$2
shift 2
case $tool in
    train) names=(CONFIG) ;;
    test) names=(CONFIG CHECKPOINT) ;;
    extract_features) names=(CONFIG CHECKPOINT OUT) ;;
esac
num=${#names[@]}

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [[ $launcher == pytorch ]]; then
    usage="usage: bash tools/dist_$tool.sh ${names[*]} GPUS [arguments of $tool.py]
  on several machines, on each: NNODES=2 NODE_RANK=0 MASTER_ADDR=host PORT=29500 bash ...
  with all files in folders that they share"
    required=$((num + 1)) gpus=${*:num+1:1}
    arguments=("${@:1:num}")
else
    usage="usage: [GPUS=8] [GPUS_PER_NODE=8] [CPUS_PER_TASK=5] [SRUN_ARGS='...'] \\
  bash tools/slurm_$tool.sh PARTITION JOB_NAME ${names[*]} [arguments of $tool.py]"
    required=$((num + 2)) partition=${1:-} job=${2:-} gpus=${GPUS:-8}
    arguments=("${@:3:num}")
fi
if (($# < required)) || ! [[ $gpus =~ ^[1-9][0-9]*$ ]]; then
    echo "$usage" >&2
    (($# < required)) || echo "error: GPUS is '$gpus', not a positive number" >&2
    exit 2
fi
shift "$required"

python=$(bash "$tools/setup_env.sh" --which)
export PYTHONPATH=$tools/..${PYTHONPATH:+:$PYTHONPATH}
# Decoding runs in the data loader's workers; more threads per process fight over the cores.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
command=("$tools/$tool.py" "${arguments[@]}" --launcher "$launcher" "$@")
if [[ $launcher == pytorch ]]; then
    exec "$python" "$tools/launch.py" \
        --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" --nproc_per_node="$gpus" \
        --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" "${command[@]}"
fi
per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
read -ra srun_args <<<"${SRUN_ARGS:-}"
# Two jobs may share a machine, so each takes a port of its own unless told.
export MASTER_PORT=${PORT:-$((12000 + RANDOM % 20000))}
exec srun --partition="$partition" --job-name="$job" \
    --gres=gpu:"$per_node" --ntasks="$gpus" --ntasks-per-node="$per_node" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 \
    ${srun_args[@]+"${srun_args[@]}"} "$python" -u "${command[@]}"
