#!/usr/bin/env bash
# Prints the Python that runs this project, making it first where there is none.
#
#   bash tools/setup_env.sh            installs into .venv what is missing or out of date
#   bash tools/setup_env.sh --which    only looks, installs nothing
#
# MMSSL_PYTHON=/path/to/python   use that interpreter as it is and install nothing
# PYTHON=python3.12              make .venv with that interpreter (3.11 or 3.12), if there is none
#
# Progress goes to stderr, the path of the interpreter alone to stdout.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
python=$venv/bin/python
stamp=$venv/.mmssl-setup

say() { printf '%s\n' "setup: $*" >&2; }
fail() {
    say "$@"
    exit 2
}

if [[ -n ${MMSSL_PYTHON:-} ]]; then
    command -v "$MMSSL_PYTHON" >/dev/null || fail "MMSSL_PYTHON=$MMSSL_PYTHON is not a program"
    # The import says what is missing and how to get it, in its last line.
    if [[ ${1:-} != --which ]] &&
        ! problem=$(cd "$root" && "$MMSSL_PYTHON" -c 'import mmssl_video' 2>&1 >/dev/null); then
        fail "MMSSL_PYTHON=$MMSSL_PYTHON: ${problem##*$'\n'}" \
            "(or all at once: $MMSSL_PYTHON -m pip install -e '${root}[lite,look]')"
    fi
    command -v "$MMSSL_PYTHON"
    exit
fi

if [[ ${1:-} == --which ]]; then
    if [[ -n ${VIRTUAL_ENV:-} || ! -x $python ]]; then
        command -v python || command -v python3 || fail 'no python on PATH'
    else
        echo "$python"
    fi
    exit
fi

[[ -f $root/setup.py ]] || fail "$root is not a source checkout; set MMSSL_PYTHON to your Python"

# One set-up at a time; a second call waits and then finds the work done.
if command -v flock >/dev/null; then
    exec 9>"$venv.lock"
    flock 9
fi

# What .venv was made from. Its scripts hold absolute paths, so the folder counts too.
wanted=$({
    echo "$root"
    cat "$root/setup.py" "$root/tools/constraints.txt"
} | cksum)

if [[ -x $python && $(cat "$stamp" 2>/dev/null) == "$wanted" ]]; then
    echo "$python"
    exit
fi

fits() { # whether the interpreter exists and is one the pinned versions are made for
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null
}

rm -f "$stamp"
if ! { fits "$python" && "$python" -m pip --version; } >/dev/null 2>&1; then
    maker=
    for candidate in ${PYTHON:+"$PYTHON"} python3.11 python3.12 python3 python; do
        if fits "$candidate"; then
            maker=$candidate
            break
        fi
        [[ -z ${PYTHON:-} ]] || fail "PYTHON=$PYTHON is not Python 3.11 or 3.12"
    done
    [[ -n $maker ]] || fail 'Python 3.11 or 3.12 is needed and not on PATH; install it, name it' \
        'with PYTHON=/path/to/python3.11, or set MMSSL_PYTHON to one that has torch and MMAction2'
    say "making $venv with $("$maker" --version) ($(command -v "$maker"))"
    "$maker" -m venv --clear "$venv" >&2 ||
        fail "$maker cannot make virtual environments; on Debian or Ubuntu: apt install python3-venv"
fi

say 'installing mmssl_video and what it needs (about 2 GB, a minute or more)'
cd "$root"
quiet=--quiet
[[ ! -t 2 ]] || quiet=--progress-bar=on # someone is watching
install() {
    "$python" -m pip install "$quiet" --disable-pip-version-check -c tools/constraints.txt "$@" >&2 ||
        fail 'the installation stopped; run the same command to continue'
}
case $(uname -sm) in
    'Linux x86_64' | *NT*) ;;
    *) install --no-deps mmaction2 ;; # it asks for decord, which has no wheel here
esac
install -e '.[lite,dev]'
echo "$wanted" >"$stamp"
say 'done'
echo "$python"
