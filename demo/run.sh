#!/bin/sh
# The demonstration: builds what is shipped, in release mode, and uses it on real data.
#
#   make demo
#
# 1. Build the library, the CLI, the header and the wheel; install the wheel into a fresh environment; compile a C program.
# 2. Load every named character of Unicode, and an inverted index of this project's documentation, with the CLI. The store gets
#    little memory, so that it has to flush and to merge on the way.
# 3. Ask the same questions of the same directory from the shell, C, Python and ctypes: the answers must be the same bytes.
# 4. Kill a writer with SIGKILL and look for everything that it had acknowledged.
#
# Needs cargo, a C compiler and Python 3.11 or later with venv, and at the first time the package indexes of cargo and pip.
# Everything it makes is below the cargo target directory; target/demo is made anew each time. Any failure ends it with
# a code other than 0.
set -eu

root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"
target=${CARGO_TARGET_DIR:-target}
case $target in /*) ;; *) target=$root/$target ;; esac
export CARGO_TARGET_DIR="$target"
system_python=${PYTHON:-python3}
work=$target/demo
began=$(date +%s)

# A child that runs in the background ends with this script. The writer that it may have started ends with its pipe.
child=
trap 'test -z "$child" || kill "$child" 2>/dev/null || :' EXIT
trap 'exit 130' HUP INT TERM

heading() { printf '\n== %s\n' "$*"; }

# A step of the build, and after how many seconds it began.
step() { printf '%4d s  %s\n' $(($(date +%s) - began)) "$*"; }

# Runs a command, and shows what it prints only if it fails.
quietly() {
    "$@" >"$work/log" 2>&1 || {
        cat "$work/log" >&2
        exit 1
    }
}

rm -rf "$work"
mkdir -p "$work/bin"

heading "1. Build, in release mode (some minutes at the first time)"
step "library and CLI"
cargo build --release -p kvs-c -p kvs-cli
# The header is generated from the sources: this test generates it and compares it with include/kvs.h. Unoptimised, for the
# compiler needs longer than the test.
step "header"
quietly cargo test --profile dev -p kvs-c --test abi -- --exact header::the_header_is_up_to_date

step "wheel"
tag=$("$system_python" -c 'import sys; sys.exit("Python 3.11 or later is needed") if sys.version_info < (3, 11) else print("%d.%d" % sys.version_info[:2])')
tools=$target/python/tools-$tag
# The build tool is kept between runs, and shared with python/tests/run.sh.
if ! "$tools/bin/maturin" --version >/dev/null 2>&1; then
    "$system_python" -m venv --clear "$tools"
    quietly "$tools/bin/python" -m pip install --disable-pip-version-check 'maturin>=1.9.4,<2'
fi
quietly "$tools/bin/maturin" build --release --out "$work/wheels" --interpreter "$system_python"

step "wheel installed into a fresh environment, C program"
"$system_python" -m venv "$work/venv"
python=$work/venv/bin/python
# From the wheel and from nowhere else: the name on the public index belongs to somebody else.
quietly "$python" -m pip install --disable-pip-version-check --no-index --no-deps "$work"/wheels/kvs-*.whl
# Programs ask for the library by the name that has its ABI version in it.
ln -s "$target/release/libkvs.so" "$work/bin/libkvs.so.0"
${CC:-cc} -std=c99 -O2 -Wall -Wextra -Werror -I include demo/query.c -o "$work/bin/query" \
    -L "$target/release" -lkvs -Wl,-rpath,"$work/bin"

step "built:"
kvs=$target/release/kvs
for file in "$kvs" "$target/release/libkvs.so" include/kvs.h "$work"/wheels/kvs-*.whl; do
    printf '        %8d bytes  %s\n' "$(wc -c <"$file")" "${file#"$root"/}"
done
built=$(date +%s)

# Of some 18 MB of log at most 2 MB stay out of tables, and with more than 4 runs writers wait for merges.
small="--option segment_bytes_max=1m --option memtable_bytes_max=2m --option table_bytes_max=4m --option runs_max=2"
# figure NAME: of what stats printed.
figure() { awk -v name="$1" '$1 == name { print $2 }' "$work/figures"; }
# Sizes as they are now.
sizes() {
    "$kvs" -d "$store" stats >"$work/figures"
    echo "$(figure runs) runs of $(figure tables) tables, $(figure table_bytes) bytes; log $(figure log_bytes) bytes; read amplification $(figure read_amplification)"
}

store=$work/store
heading "2. Load, with the CLI"
"$python" demo/characters.py >"$work/characters.tsv"
echo "every named character of $("$python" -c 'import sys, unicodedata as u; print("Unicode", u.unidata_version, "in Python", sys.version.split()[0])'):"
# The options are words each.
"$kvs" -d "$store" load $small --stats - <"$work/characters.tsv" 2>&1 >"$work/figures"
echo "on the way: $(figure flushes) flushes, $(figure merges) merges in $(figure merge_steps) steps; $(figure stalls) writes waited for a flush"
echo "written: log $(figure log_bytes_written) bytes, flushes $(figure flush_bytes_written), merges $(figure merge_bytes_written): write amplification $(figure write_amplification)"
echo "at the end: $(figure table_bytes) bytes in tables, $(figure dead_bytes) of them dead: space amplification $(figure space_amplification)"
test "$(figure flushes)" -ge 3
test "$(figure merges)" -ge 1
"$python" demo/words.py "$root" 2>&1 >"$work/words.jsonl"
"$kvs" -d "$store" load $small "$work/words.jsonl" 2>&1
loaded=$(cat "$work/characters.tsv" "$work/words.jsonl" | wc -l)
test "$("$kvs" -d "$store" scan --keys-only | wc -l)" -eq "$loaded"
echo "all $loaded keys are there"
"$python" demo/sizes.py "$store"
sizes
"$kvs" -d "$store" verify
echo "merged to one run, with compact:"
"$kvs" -d "$store" scan >"$work/before"
"$kvs" -d "$store" compact
"$kvs" -d "$store" scan | cmp - "$work/before"
sizes
"$kvs" -d "$store" verify
"$kvs" -d "$store" stats

heading "3. Query, from the shell, C, Python and ctypes"
{
    echo "# point: U+1F600, and U+10FFFF, which is no character"
    "$kvs" -d "$store" get char/01F600
    "$kvs" -d "$store" get char/10FFFF
    echo "# range: the block Greek and Coptic, U+0370 to U+03FF"
    "$kvs" -d "$store" scan --start char/000370 --stop char/000400
    echo "# prefix: words that begin with durab"
    "$kvs" -d "$store" scan --prefix word/durab
    echo "# reverse: the last five characters"
    "$kvs" -d "$store" scan --prefix char/ --reverse --limit 5
} >"$work/answers-cli"
# What they measure goes to stderr, so that stdout is the answers alone.
"$work/bin/query" read "$store" 2>&1 >"$work/answers-c"
"$python" demo/query.py "$store" 2>&1 >"$work/answers-python"
"$system_python" demo/query_ctypes.py "$target/release/libkvs.so" "$store" 2>&1 >"$work/answers-ctypes"
for one in c python ctypes; do
    diff "$work/answers-cli" "$work/answers-$one"
done
echo "the four answers are the same $(wc -c <"$work/answers-c") bytes, and begin, each, with:"
awk '
    function end() { if (shown > 5) print "  ... and " shown - 5 " more" }
    /^#/ { end(); shown = 0; print substr($0, 3); next }
    ++shown <= 5 { print "  " $0 }
    END { end() }
' "$work/answers-c"

heading "4. Kill a writer: each number that it prints is the receipt of a write that survives its death"
"$python" demo/crash.py kill 100000 "$work/bin/query" "$work/killed" "$work/acknowledged" &
child=$!
wait "$child"
child=
"$kvs" -d "$work/killed" verify
"$python" demo/crash.py check "$work/killed" "$work/acknowledged"

ended=$(date +%s)
heading "Done in $((ended - began)) s: $((built - began)) s to build, $((ended - built)) s to run"
