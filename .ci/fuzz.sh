#!/usr/bin/env bash
# Builds the fuzz targets and runs each over its corpus and on from there.
#
#   .ci/fuzz.sh               a smoke run, about 10 s each
#   .ci/fuzz.sh 3600          longer; what is found lies in the artifacts/ of model/fuzz, session/fuzz or audit/fuzz
#   .ci/fuzz.sh 5 20000       and at most so many inputs each
#
# The flags are those of cargo-fuzz without a sanitizer, so that a stable compiler and a C++ compiler are all it needs.
set -euo pipefail
cd "$(dirname "$0")/.."
readonly SECONDS_EACH=${1:-10}
readonly INPUTS_EACH=${2:--1}
readonly TARGET=x86_64-unknown-linux-gnu
readonly BUILT=$PWD/target/fuzz
readonly FLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"

if [ "$(uname -m)" != x86_64 ]; then
    echo "fuzz: the coverage flags are tried on x86-64 only" >&2
    exit 0
fi
# Inputs become files; they are kept in memory where the system has a place for that.
scratch=$(mktemp -d -p "$([ -d /dev/shm ] && echo /dev/shm || echo "${TMPDIR:-/tmp}")")
trap 'rm -rf "$scratch"' EXIT

# The targets of one crate: its folder, and where their corpora lie.
targets() {
    local folder=$1 corpora=$2 source name
    (cd "$folder" && CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS=$(echo $FLAGS) \
        cargo build --quiet --locked --bins --target "$TARGET" --target-dir "$BUILT")
    for source in "$folder"/src/bin/*.rs; do
        name=$(basename "$source" .rs)
        mkdir -p "$folder/artifacts/$name" "$BUILT/corpus/$name"
        [ -n "$(ls -A "$corpora/$name")" ] || { echo "fuzz: $corpora/$name is empty" >&2; exit 1; }
        TMPDIR=$scratch "$BUILT/$TARGET/debug/$name" "$BUILT/corpus/$name" "$corpora/$name" \
            -artifact_prefix="$folder/artifacts/$name/" -max_total_time="$SECONDS_EACH" -runs="$INPUTS_EACH" \
            -timeout=10 -rss_limit_mb=2048 -max_len=65536 -verbosity=0 -print_final_stats=1 2>"$BUILT/$name.log" || {
            tail -n 40 "$BUILT/$name.log" >&2
            echo "fuzz: $name failed; the input is in $folder/artifacts/$name" >&2
            exit 1
        }
        echo "fuzz: $name $(awk '/stat::number_of_executed_units/ { print $2 }' "$BUILT/$name.log") inputs, none that fails"
    done
}

targets model/fuzz model/fuzz/corpus
python3 session/fuzz/make_corpus.py "$scratch/session"
targets session/fuzz "$scratch/session"
python3 audit/fuzz/make_corpus.py "$scratch/audit"
targets audit/fuzz "$scratch/audit"
