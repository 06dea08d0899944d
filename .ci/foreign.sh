#!/usr/bin/env bash
# Asks others: OpenSSL about certificates, an aioquic client about admission, PyNaCl and cbor2 about a consent token.
# Also makes the vectors again and compares them byte by byte, and asks the program's own line protocol.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly VENV=target/foreign-venv
readonly PROGRAM=${COUNTERFOIL_BIN:-target/release/counterfoil}

if [ ! -x "$PROGRAM" ]; then
    echo "$PROGRAM is not there; build it with: cargo build --release" >&2
    exit 2
fi
if ! cmp -s .ci/foreign-requirements.txt "$VENV/installed.txt"; then
    python3 -m venv --clear "$VENV"
    "$VENV/bin/pip" install --quiet --disable-pip-version-check --requirement .ci/foreign-requirements.txt
    cp .ci/foreign-requirements.txt "$VENV/installed.txt"
fi
"$VENV/bin/python" conformance/generator/make.py --check
"$PROGRAM" conform
"$PROGRAM" conform --command "$PROGRAM" conform --answer
exec "$VENV/bin/python" -u .ci/foreign.py "$PROGRAM"
