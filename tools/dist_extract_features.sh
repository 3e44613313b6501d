#!/usr/bin/env bash
# Usage: bash tools/dist_extract_features.sh CONFIG CHECKPOINT OUT GPUS [arguments of extract_features.py]
exec bash "$(dirname "${BASH_SOURCE[0]}")/dist.sh" pytorch extract_features "$@"
