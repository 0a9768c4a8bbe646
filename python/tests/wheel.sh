#!/bin/sh
# Holds the packages to what an index and a user ask of them, in clean environments:
#
#   1. auditwheel accepts the wheel as a manylinux one, and it is abi3 for 3.11; twine accepts the metadata of wheel and source.
#   2. The source distribution holds what it needs and nothing built: it is installed in an environment that has nothing else, by pip,
#      which fetches maturin by itself.
#   3. So is the checkout, by `pip install .`.
#
#   python/tests/wheel.sh [WHEEL]
#
# WHEEL: one that is there already, such as the one that run.sh names in its last line; without it one is built. Needs what run.sh needs,
# and readelf.
set -eu

root=$(CDPATH= cd -- "$(dirname -- "$0")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
case $target in /*) ;; *) target=$root/$target ;; esac
python=${PYTHON:-python3}
work=$target/python
tools=$work/wheel-tools
out=$work/dist
rm -rf "$out" && mkdir -p "$out"
# Link-time optimisation is most of the time of a build, and changes nothing that is looked at here.
export CARGO_TARGET_DIR="$target" CARGO_PROFILE_RELEASE_LTO=false CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
export PIP_DISABLE_PIP_VERSION_CHECK=1

if ! "$tools/bin/twine" --version >/dev/null 2>&1; then
    "$python" -m venv --clear "$tools"
    "$tools/bin/python" -m pip install --quiet 'maturin>=1.9.4,<2' 'auditwheel>=6.3,<7' 'twine>=6,<7'
fi

if [ $# -gt 0 ]; then cp "$1" "$out"; else
    (cd "$root" && "$tools/bin/maturin" build --quiet --release --out "$out" --interpreter "$python")
fi
(cd "$root" && "$tools/bin/maturin" sdist --manifest-path bindings/python/Cargo.toml --out "$out")

echo "== names and metadata"
wheel=$(echo "$out"/kvs-*.whl)
sdist=$(echo "$out"/kvs-*.tar.gz)
case $wheel in *-cp311-abi3-manylinux_*) ;; *) echo "not an abi3 manylinux wheel: $wheel" >&2 && exit 1 ;; esac
"$tools/bin/twine" check --strict "$wheel" "$sdist"
policy=$("$tools/bin/auditwheel" show "$wheel" | tr '\n' ' ')
case $policy in *'consistent with the following platform tag: "manylinux_'* | *'constrains the platform tag to "manylinux_'*) ;;
    *) echo "auditwheel: $policy" >&2 && exit 1 ;; esac

echo "== what is inside"
"$python" - "$wheel" "$sdist" <<'END'
import sys, tarfile, zipfile
wheel, sdist = zipfile.ZipFile(sys.argv[1]), tarfile.open(sys.argv[2])
names = set(wheel.namelist())
for name in "__init__.py", "__main__.py", "_kvs.pyi", "_kvs.abi3.so", "aio.py", "py.typed":
    assert f"kvs/{name}" in names, name
info = next(name for name in names if name.endswith(".dist-info/METADATA"))
metadata = wheel.read(info).decode()
for field in "Name: kvs", "Summary: ", "License-Expression: MIT OR Apache-2.0", "License-File: LICENSE-MIT", "Requires-Python: >=3.11", \
        "Author: ", "Keywords: ", "Classifier: Typing :: Typed", "Description-Content-Type: text/markdown", "Provides-Extra: progress":
    assert field in metadata, field
assert "Requires-Dist" not in "".join(line for line in metadata.splitlines() if "extra ==" not in line), "needs another package at run time"
assert any(name.endswith("entry_points.txt") for name in names)
inside = {name.split("/", 1)[1] for name in sdist.getnames() if "/" in name}
for name in "Cargo.lock", "pyproject.toml", "python/kvs/__init__.py", "bindings/python/src/lib.rs", "bindings/cli/src/lib.rs", "src/lib.rs", \
        "LICENSE-MIT", "LICENSE-APACHE":
    assert name in inside, name
for name in inside:
    assert not name.endswith((".so", ".pyc", ".whl")) and not name.startswith("target/"), name
END

smoke() {
    (cd "$work" && "$1" -W error - <<'END'
import asyncio, tempfile, kvs
with tempfile.TemporaryDirectory() as directory:
    with kvs.open(f"{directory}/a") as db:
        db[b"k"] = b"v"
        assert dict(db) == {b"k": b"v"}
        with db.get_view(b"k") as view:
            assert bytes(view) == b"v"
    async def main():
        async with kvs.aio.open(f"{directory}/a") as db:
            return await db.get(b"k")
    assert asyncio.run(main()) == b"v"
END
    ) && "$(dirname "$1")/kvs" --version && "$1" -m kvs --version
}

for source in "$sdist" "$root"; do
    echo "== pip install $(basename "$source"), in a clean environment"
    clean=$work/clean
    "$python" -m venv --clear "$clean"
    # From here, and nothing of the caller's: only cargo is found.
    env -u PYTHONPATH -u VIRTUAL_ENV "$clean/bin/python" -m pip install --quiet --no-deps "$source"
    smoke "$clean/bin/python"
done
echo "wheel and source distribution: $out"
