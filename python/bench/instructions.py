"""Instructions of one call of each kind, by callgrind: the same on a busy machine as on a quiet one.

    python python/bench/instructions.py [--rows get,items] [--keep DIRECTORY]

1. Each row is a loop over a thousand keys of 16 bytes with values of 100, in a hot store in memory. It runs 2 times and 52 times, each under
   valgrind; what is told is the difference for one call or entry. So start, imports and the load are not in it; the interpreter's loop is.
2. `dict.get`, `dict.items` and a property that only reads a flag are what Python itself takes.
3. Background threads are counted too: writes include the flushes that they cause.

An instruction is not a time: an atomic one costs twenty others, a cache miss a hundred. What is missing here is gone for good, though.
Needs valgrind, and kvs installed. --keep leaves the profiles for callgrind_annotate.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

KEYS = [b"%016d" % n for n in range(1000)]
CHUNKS = [KEYS[at : at + 100] for at in range(0, len(KEYS), 100)]
VALUE = b"v" * 100
FEW, MANY = 2, 52


def each(call: Callable[[bytes], object]) -> Callable[[], None]:
    def work() -> None:
        for key in KEYS:
            call(key)

    return work


def walk(entries: Callable[[], Iterable[object]]) -> Callable[[], None]:
    def work() -> None:
        for _ in entries():
            pass

    return work


def rows() -> dict[str, Callable[[], None]]:
    import kvs

    db = kvs.open(in_memory=True)
    pairs = dict.fromkeys(KEYS, VALUE)
    db.put_many(pairs)
    settled = kvs.open(in_memory=True)
    settled.put_many(pairs)
    settled.flush()

    def closed() -> None:
        for _ in KEYS:
            db.closed

    def many(call: Callable[[list[bytes]], object]) -> Callable[[], None]:
        def work() -> None:
            for chunk in CHUNKS:
                call(chunk)

        return work

    def batch() -> None:
        batch = db.batch()
        for key in KEYS:
            batch.put(key, VALUE)

    return {
        "dict.get": each(pairs.get),
        "a property": closed,
        "get": each(db.get),
        "[]": each(db.__getitem__),
        "in": each(db.__contains__),
        "get_view": each(db.get_view),
        "get_many of 100": many(db.get_many),
        "get from tables": each(settled.get),
        "dict.items": walk(pairs.items),
        "items": walk(db.items),
        "items from tables": walk(settled.items),
        "items without a copy": walk(lambda: db.items(zero_copy=True)),
        "keys": walk(db.keys),
        "items(prefix) of 100": many(lambda chunk: [pair for pair in db.items(chunk[0][:14])]),
        "batch.put": batch,
        "put": each(lambda key: db.put(key, VALUE)),
        "put_many of 100": many(lambda chunk: db.put_many([(key, VALUE) for key in chunk])),
    }


def count(row: str, rounds: int, directory: Path) -> int:
    out = directory / f"{re.sub(r'[^a-z.]+', '-', row)}.{rounds}.callgrind"
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", sys.executable, __file__, "--one", row, "--rounds", str(rounds)]
    # The interpreter itself, not a launcher; and the same order of its own dictionaries each time.
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    found = re.search(r"Collected : (\d+)", result.stderr)
    if result.returncode or not found:
        sys.exit(f"{row}: {result.stderr}")
    return int(found[1])


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--rows")
    arguments.add_argument("--keep", type=Path)
    arguments.add_argument("--one", help=argparse.SUPPRESS)
    arguments.add_argument("--rounds", type=int, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.one:
        work = rows()[given.one]
        for _ in range(given.rounds):
            work()
        return
    with tempfile.TemporaryDirectory() as directory:
        kept = given.keep or Path(directory)
        kept.mkdir(parents=True, exist_ok=True)
        for row in given.rows.split(",") if given.rows else rows():
            more = count(row, MANY, kept) - count(row, FEW, kept)
            print(f"{row:24}{more / ((MANY - FEW) * len(KEYS)):8,.0f}", flush=True)


if __name__ == "__main__":
    main()
