#!/usr/bin/env bash
# Usage: bash tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [arguments of test.py]
exec bash "$(dirname "${BASH_SOURCE[0]}")/dist.sh" slurm test "$@"
