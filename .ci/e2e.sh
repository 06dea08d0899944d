#!/usr/bin/env bash
# Uses the release binary as a person would, with the official OpenAI client in front of it.
#
#   .ci/e2e.sh [NAME…]   all scenarios, or those whose name holds one of the given words
set -euo pipefail
cd "$(dirname "$0")/.."

readonly VENV=target/ci-venv
readonly PROGRAM=${COUNTERFOIL_BIN:-target/release/counterfoil}

if [ ! -x "$PROGRAM" ]; then
    echo "$PROGRAM is not there; build it with: cargo build --release" >&2
    exit 2
fi
if ! cmp -s .ci/requirements.txt "$VENV/installed.txt"; then
    python3 -m venv --clear "$VENV"
    "$VENV/bin/pip" install --quiet --disable-pip-version-check --requirement .ci/requirements.txt
    cp .ci/requirements.txt "$VENV/installed.txt"
fi
exec "$VENV/bin/python" -u .ci/e2e.py "$PROGRAM" "$@"
