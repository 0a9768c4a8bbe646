#!/bin/sh
# Runs the tests of concurrency, interface, model and regressions, at reduced size, under AddressSanitizer. Needs a nightly toolchain.
#
#   tests/asan.sh            all of them
#   tests/asan.sh batches::  those whose name holds this
#
# Leaks are not looked for: what waits in the epochs when the process ends is no leak. Left out: the value of 1 GiB, for its memory.
set -eu
cd "$(dirname "$0")/.."
: "${CARGO_TARGET_DIR:=target}"
export CARGO_TARGET_DIR="$CARGO_TARGET_DIR/asan"
export RUSTFLAGS="${RUSTFLAGS:-} -Zsanitizer=address -Cunsafe-allow-abi-mismatch=sanitizer"
export KVS_CONC_PERCENT="${KVS_CONC_PERCENT:-10}" KVS_MODEL_OPS="${KVS_MODEL_OPS:-20000}"
export ASAN_OPTIONS="detect_leaks=0 detect_stack_use_after_return=1"
export RUST_BACKTRACE=0
cargo +nightly test -p kvs --target x86_64-unknown-linux-gnu \
    --test concurrency --test regressions --test api --test model -- --skip the_longest_value "$@"
