#!/usr/bin/env bash
# Usage: bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG [arguments of train.py]
exec bash "$(dirname "${BASH_SOURCE[0]}")/dist.sh" slurm train "$@"
