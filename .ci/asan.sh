#!/usr/bin/env bash
# The kernel's tests under AddressSanitizer: its vector loads go by pointers, which nothing else looks after. The
# sanitizer is an unstable option of the compiler, hence RUSTC_BOOTSTRAP; it has a target folder of its own. Dependencies
# are not optimised, as little of them runs.
#
#   .ci/asan.sh
set -euo pipefail
cd "$(dirname "$0")/.."

host=$(rustc -vV | sed -n 's/^host: //p')
RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address CARGO_TARGET_DIR=target/asan \
    cargo test -p counterfoil-model --lib --target "$host" \
    --config 'profile.dev.package."*".opt-level=0' --config profile.dev.package.counterfoil-model.opt-level=1 \
    "$@" -- kernel::
