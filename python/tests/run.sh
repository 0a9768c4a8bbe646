#!/bin/sh
# Builds the Python package, installs the wheel as a user would, and runs its tests against the installed copy.
#
#   python/tests/run.sh [--profile NAME] [--python PATH] [pytest arguments...]
#
# Needs Python 3.11 or later with pip and venv, cargo, and a package index for the tools. The default profile is `release`
# without link-time optimisation, which takes most of the time; `--profile release` is what is shipped.
# Everything it makes is below the cargo target directory. On success the last line says where the wheel is.
set -eu

root=$(CDPATH= cd -- "$(dirname -- "$0")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
python=${PYTHON:-python3}
profile=fast
while [ $# -gt 0 ]; do
    case $1 in
    --profile) profile=$2 && shift 2 ;;
    --python) python=$2 && shift 2 ;;
    *) break ;;
    esac
done

case $target in /*) ;; *) target=$root/$target ;; esac
mkdir -p "$target"
work=$target/python
tag=$("$python" -c 'import sys; sys.exit("Python 3.11 or later is needed") if sys.version_info < (3, 11) else print("%d.%d" % sys.version_info[:2])')
tools=$work/tools-$tag
fresh=$work/venv-$tag
wheels=$work/wheels
mkdir -p "$work"

# 1. The build tool, kept between runs.
if ! "$tools/bin/maturin" --version >/dev/null 2>&1; then
    "$python" -m venv --clear "$tools"
    "$tools/bin/python" -m pip install --quiet --disable-pip-version-check 'maturin>=1.9.4,<2'
fi

# 2. The wheel.
rm -rf "$wheels"
if [ "$profile" = fast ]; then
    export CARGO_PROFILE_RELEASE_LTO=false CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
    profile=release
fi
(cd "$root" && CARGO_TARGET_DIR=$target "$tools/bin/maturin" build --quiet --profile "$profile" --out "$wheels" --interpreter "$python")

# 3. A fresh environment: the tests' requirements from the index, kvs from the wheel and from nowhere else
#    (the name on the public index belongs to somebody else).
"$python" -m venv --clear "$fresh"
"$fresh/bin/python" -m pip install --quiet --disable-pip-version-check -r "$root/python/tests/requirements.txt"
"$fresh/bin/python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps "$wheels"/kvs-*.whl

# 4. The tests, from where the source package cannot be imported.
away=$work/away
rm -rf "$away" && mkdir -p "$away"
cd "$away"
"$fresh/bin/python" -m pytest -c "$root/pyproject.toml" --rootdir "$root" -p no:cacheprovider "$root/python/tests" "$@"
echo "wheel: $(echo "$wheels"/kvs-*.whl)"
