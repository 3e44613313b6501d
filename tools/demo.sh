#!/usr/bin/env bash
# Sets up, then pretrains and evaluates a small VCLR: bash tools/demo.sh [VIDEO_DIR]
#
# --config CONFIG               another recipe
# SEED=1 bash tools/demo.sh     other videos, splits and weights
# bash tools/demo.sh --help     what it does, and its options
#
# Ctrl-C stops it; the same command continues.
set -euo pipefail

started=$(date +%s)
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=$(bash "$root/tools/setup_env.sh")
# mmcv-lite says at each import which operators it lacks; none is needed here.
export PYTHONWARNINGS=ignore::UserWarning
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
exec "$python" "$root/tools/demo.py" --started "$started" "$@"
