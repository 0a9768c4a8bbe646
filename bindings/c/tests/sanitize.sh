#!/bin/sh
# The exported functions under AddressSanitizer and ThreadSanitizer, called from Rust (src/calls.rs) at reduced size. Needs a nightly toolchain.
#
#   bindings/c/tests/sanitize.sh            both
#   bindings/c/tests/sanitize.sh address    one of them
#
# What ThreadSanitizer cannot see, and how that is answered, is told in tests/tsan.sh, of which the suppressions are. Leaks are looked for by valgrind: what waits
# in the epochs when a process ends is no leak.
set -eu
cd "$(dirname "$0")/../../.."
: "${CARGO_TARGET_DIR:=target}"
top=$CARGO_TARGET_DIR
flags=${RUSTFLAGS:-}
export RUST_BACKTRACE=0
for sanitizer in ${1:-address thread}; do
    case $sanitizer in
    address)
        export CARGO_TARGET_DIR="$top/asan" RUSTFLAGS="$flags -Zsanitizer=address -Cunsafe-allow-abi-mismatch=sanitizer"
        export ASAN_OPTIONS="detect_leaks=0 detect_stack_use_after_return=1" KVS_REPEAT_PERCENT="${KVS_REPEAT_PERCENT:-50}"
        ;;
    thread)
        export CARGO_TARGET_DIR="$top/tsan" RUSTFLAGS="$flags -Zsanitizer=thread --cfg kvs_tsan -Cunsafe-allow-abi-mismatch=sanitizer"
        mkdir -p "$CARGO_TARGET_DIR"
        suppressions=$(cd "$CARGO_TARGET_DIR" && pwd)/suppressions-c
        cat > "$suppressions" <<'END'
race:std::sync::mpmc
race:alloc::sync::Arc<*>::drop_slow
race:alloc::sync::Arc<* as core::ops::drop::Drop>::drop
END
        export TSAN_OPTIONS="halt_on_error=0 exitcode=66 suppressions=$suppressions" KVS_REPEAT_PERCENT="${KVS_REPEAT_PERCENT:-20}"
        ;;
    *)
        echo "no such sanitizer: $sanitizer" >&2
        exit 2
        ;;
    esac
    cargo +nightly test -p kvs-c --lib --target x86_64-unknown-linux-gnu calls:: -- --test-threads=1
done
