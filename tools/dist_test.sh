#!/usr/bin/env bash
# Usage: bash tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of test.py]
exec bash "$(dirname "${BASH_SOURCE[0]}")/dist.sh" pytorch test "$@"
