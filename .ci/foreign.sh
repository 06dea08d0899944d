#!/usr/bin/env bash
# Asks others: OpenSSL about certificates, an aioquic client about admission, PyNaCl and cbor2 about a consent token, Go's
# x/mod, pymerkle and witness-log about the log. Go comes from Debian's packages, where they may be installed; else that
# check is left out, and the last line counts it. hledger, from there too, beancount, pyarrow and others read the exports.
# Stripe's client reads the payment simulator's answers and signatures. Also makes the vectors again and compares them byte
# by byte, and asks the program's own line protocol.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly VENV=target/foreign-venv
readonly PROGRAM=${COUNTERFOIL_BIN:-target/release/counterfoil}
# Built with the tests; it is no part of the program.
readonly PAYSIM=${COUNTERFOIL_PAYSIM:-target/debug/counterfoil-paysim}

if [ ! -x "$PROGRAM" ]; then
    echo "$PROGRAM is not there; build it with: cargo build --release" >&2
    exit 2
fi
if [ ! -x "$PAYSIM" ]; then
    echo "$PAYSIM is not there; build it with: cargo test --workspace --no-run" >&2
    exit 2
fi
if ! cmp -s .ci/foreign-requirements.txt "$VENV/installed.txt"; then
    python3 -m venv --clear "$VENV"
    "$VENV/bin/pip" install --quiet --disable-pip-version-check --requirement .ci/foreign-requirements.txt
    cp .ci/foreign-requirements.txt "$VENV/installed.txt"
fi
if ! command -v go >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    { apt-get -qq update && apt-get -qq install -y --no-install-recommends golang-go golang-golang-x-mod-dev; } \
        >target/foreign-apt.log 2>&1 || echo "foreign: Go could not be installed; target/foreign-apt.log says why" >&2
fi
# A Debian package; where it cannot be installed its check is left out, and said to be.
if ! command -v hledger >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    { apt-get install -y hledger || { apt-get update && apt-get install -y hledger; }; } >/dev/null 2>&1 || true
fi
"$VENV/bin/python" conformance/generator/make.py --check
"$PROGRAM" conform
"$PROGRAM" conform --command "$PROGRAM" conform --answer
"$VENV/bin/python" -u .ci/exports.py "$PROGRAM"
"$VENV/bin/python" -u .ci/payouts.py "$PAYSIM"
exec "$VENV/bin/python" -u .ci/foreign.py "$PROGRAM"
