#!/bin/sh
# Builds the wheel as it is shipped, installs it and its peers into an environment of its own, and runs python/bench/peers.py there.
#
#   python/bench/run.sh [arguments of peers.py...]
#
# Needs Python 3.11 or later, cargo and a package index. Keep the machine quiet.
set -eu

root=$(CDPATH= cd -- "$(dirname -- "$0")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
case $target in /*) ;; *) target=$root/$target ;; esac
python=${PYTHON:-python3}
work=$target/python/bench
export PIP_DISABLE_PIP_VERSION_CHECK=1
mkdir -p "$work"
[ -x "$work/venv/bin/python" ] || "$python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet 'maturin>=1.9.4,<2' -r "$root/python/bench/requirements.txt"
rm -rf "$work/wheels"
(cd "$root" && CARGO_TARGET_DIR=$target "$work/venv/bin/maturin" build --quiet --release --out "$work/wheels" --interpreter "$work/venv/bin/python")
"$work/venv/bin/python" -m pip install --quiet --no-index --no-deps --force-reinstall "$work"/wheels/kvs-*.whl
"$work/venv/bin/python" "$root/python/bench/peers.py" "$@"
