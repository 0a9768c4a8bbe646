#!/bin/sh
# Runs the concurrency tests, at reduced size, under ThreadSanitizer. Needs a nightly toolchain.
#
#   tests/tsan.sh            all of them
#   tests/tsan.sh batches::  those whose name holds this
#
# The standard library itself is not instrumented, so what it orders by its own locks looks unordered. Hence: one test at a
# time, which then runs on the main thread; a `OnceLock` of our own (src/sync/tsan.rs); and suppressions for two things of the standard library: the channels by which
# tests and their harness talk, and the fence with which the last owner of an `Arc` takes over (ThreadSanitizer knows no fences). An
# access after such a drop would be one after free, which tests/asan.sh looks for. crossbeam-epoch knows the sanitizer
# and replaces its own fences.
# The tests that start a process or fork are left out: the child would not be watched.
set -eu
cd "$(dirname "$0")/.."
: "${CARGO_TARGET_DIR:=target}"
export CARGO_TARGET_DIR="$CARGO_TARGET_DIR/tsan"
export RUSTFLAGS="${RUSTFLAGS:-} -Zsanitizer=thread --cfg kvs_tsan -Cunsafe-allow-abi-mismatch=sanitizer"
export KVS_CONC_PERCENT="${KVS_CONC_PERCENT:-5}"
mkdir -p "$CARGO_TARGET_DIR"
suppressions=$(cd "$CARGO_TARGET_DIR" && pwd)/suppressions
cat > "$suppressions" <<'END'
race:std::sync::mpmc
race:alloc::sync::Arc<*>::drop_slow
race:alloc::sync::Arc<* as core::ops::drop::Drop>::drop
END
export TSAN_OPTIONS="halt_on_error=0 exitcode=66 suppressions=$suppressions"
export RUST_BACKTRACE=0
cargo +nightly test -p kvs --target x86_64-unknown-linux-gnu --test concurrency --test regressions -- \
    --test-threads=1 --skip idle --skip what_stayed_in_the_process "$@"
