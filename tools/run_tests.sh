#!/usr/bin/env bash
# Sets up and runs the tests, two files at a time: bash tools/run_tests.sh [arguments of pytest]
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=$(bash "$root/tools/setup_env.sh")
cd "$root"
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
# Small tensors: more threads only wait for each other.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
# The order of tests/conftest.py: files with slow tests first, so that both processes end together.
exec "$python" -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
