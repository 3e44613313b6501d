#!/usr/bin/env bash
# Usage: bash tools/dist_train.sh CONFIG GPUS [arguments of train.py]
exec bash "$(dirname "${BASH_SOURCE[0]}")/dist.sh" pytorch train "$@"
