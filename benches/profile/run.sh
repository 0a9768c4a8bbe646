#!/bin/sh
# What `make profile` does: flame graphs of put, get, scan and merge, with symbols, in target/profile. Needs perf, python3 and binutils, and takes a
# minute after the first time.
#
#   benches/profile/run.sh [put|get|scan|merge ...]
#
# Of merge the worker's thread alone is drawn, and of put all threads. Wider is longer; what is called stands above who calls. Open the pictures in a browser: a click
# enlarges, Ctrl-F searches.
set -eu
cd "$(dirname "$0")/../.."
[ $# -gt 0 ] || set -- put get scan merge
if ! command -v perf >/dev/null; then
    echo "perf is missing; Debian has it in linux-perf" >&2
    exit 1
fi
target=$PWD/target/profile
tools=$target/tools
export PATH="$tools/bin:$PATH"
if ! command -v inferno-flamegraph >/dev/null; then
    ${CARGO:-cargo} install --quiet --locked --root "$tools" --target-dir "$target/inferno" inferno --version 0.12.8 --no-default-features --features cli
fi

# Stacks by frame pointers: those of DWARF are cut at 8 KiB and take gigabytes.
export RUSTFLAGS="-C force-frame-pointers=yes"
program=$(${CARGO:-cargo} bench --quiet --bench profile --no-run --target-dir "$target" --message-format=json |
    sed -n 's/.*"name":"profile".*"executable":"\([^"]*\)".*/\1/p')

# Counters of the processor are better, and a virtual machine may have none.
event=cycles
perf stat -e cycles:u -- true 2>&1 | grep -q 'not supported' && event=cpu-clock

for name; do
    data=$target/$name.perf
    control=$target/$name.control
    rm -f "$control"
    mkfifo "$control"
    echo "== $name, by $event"
    KVS_PROFILE_CONTROL=$control perf record --quiet --event "$event" --freq 1999 --call-graph fp --delay=-1 --control "fifo:$control" --output "$data" -- \
        "$program" --bench "$name"
    rm -f "$control"
    thread=
    [ "$name" = merge ] && thread=--comm=kvs-worker
    # shellcheck disable=SC2086 # one word or none
    perf script --input "$data" $thread 2>/dev/null | python3 benches/profile/inlined.py "$program" | inferno-collapse-perf >"$target/$name.folded" 2>/dev/null
    inferno-flamegraph --title "kvs: $name" --subtitle "$event, $(date -u +%F), $(git rev-parse --short HEAD)" \
        "$target/$name.folded" >"$target/$name.svg"
    echo "   target/profile/$name.svg"
done
