#!/bin/sh
# What `make versus` does: every store, the whole matrix, and the report in docs/performance. Keep the machine quiet.
#
#   benches/versus/run.sh [default|large|beyond|growth|over_time] [options of `kvs-versus run`]
set -eu
cd "$(dirname "$0")/../.."
preset=${1:-default}
[ $# -gt 0 ] && shift
case $preset in
    default) name=1m ;;
    large) name=10m ;;
    beyond | growth) name=$preset ;;
    over_time | over-time) preset=over-time name=over-time ;;
    *) echo "there is no preset $preset: default, large, beyond, growth or over_time" >&2; exit 2 ;;
esac

# LevelDB's library, and what the bindings of RocksDB are generated with.
missing=
[ -e /usr/include/leveldb/c.h ] || missing="$missing libleveldb-dev"
ls /usr/lib/llvm-*/lib/libclang.so* >/dev/null 2>&1 || missing="$missing libclang-dev"
if [ -n "$missing" ]; then
    apt-get update -qq
    # shellcheck disable=SC2086 # a list of words
    apt-get install -y -qq --no-install-recommends $missing
fi

# Without these RocksDB computes its checksums by tables, which its own build calls slow. kvs and the others in Rust are built as
# whoever uses them builds them by default.
if grep -qw avx2 /proc/cpuinfo && grep -qw pclmulqdq /proc/cpuinfo; then
    export CXXFLAGS="-msse4.2 -mpclmul -mavx2 -mbmi -mlzcnt${CXXFLAGS:+ $CXXFLAGS}"
fi

out=docs/performance
versus=benches/versus/target/release/kvs-versus
${CARGO:-cargo} build --release --locked --manifest-path benches/versus/Cargo.toml --features rocksdb,leveldb
mkdir -p "$out"
failed=0
"$versus" run --preset "$preset" --dir benches/versus/target/run --out "$out/$name.jsonl" --fresh "$@" || failed=$?
"$versus" table "$out/$name.jsonl" >"$out/$name.md"
"$versus" plot "$out/$name.jsonl" "$out/$name"
exit "$failed"
