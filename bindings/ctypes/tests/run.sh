#!/bin/sh
# Builds libkvs as the tests of the C interface have it, and runs the tests of kvs_ctypes against it: with any Python from 3.9 on, and nothing
# installed.
#
#   bindings/ctypes/tests/run.sh [unittest arguments...]
#
# KVS_LIBRARY names a library that is there already; PYTHON another interpreter than python3.
set -eu

root=$(CDPATH= cd -- "$(dirname -- "$0")/../../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
case $target in /*) ;; *) target=$root/$target ;; esac
if [ -z "${KVS_LIBRARY:-}" ]; then
    (cd "$root" && CARGO_TARGET_DIR=$target "${CARGO:-cargo}" build --quiet --package kvs-c --lib --profile test)
    KVS_LIBRARY=$target/debug/libkvs.so
fi
export KVS_LIBRARY PYTHONPATH="$root/bindings/ctypes${PYTHONPATH:+:$PYTHONPATH}" PYTHONDONTWRITEBYTECODE=1
cd "$root/bindings/ctypes/tests"
exec "${PYTHON:-python3}" -W error -X faulthandler -m unittest discover --start-directory . "$@"
