"""What kvs_ctypes costs: nanoseconds for a get, a put and a scanned entry, beside the cheapest foreign call that there is.

    python bindings/ctypes/bench.py [--keys N] [--value BYTES] [--rounds N]

All rows are measured in turns, round after round, in one process, on a store in memory; each shows the median of its rounds, and how often
the cheapest call fits into it. Keep the machine quiet, and build the library for release.
"""

import argparse
import random
import statistics
import time
from typing import Callable, Dict, List

import kvs_ctypes


def measured(keys: int, value_bytes: int, rounds: int) -> Dict[str, float]:
    """Nanoseconds for one of each, by name."""
    lib = kvs_ctypes.Library()
    value = b"v" * value_bytes
    ordered = [b"user:%012d" % n for n in range(keys)]
    shuffled = random.Random(1).sample(ordered, keys)
    absent = [key + b"x" for key in shuffled]
    with kvs_ctypes.open(in_memory=True, library=lib) as db:
        db.put_many((key, value) for key in ordered)

        def calls() -> None:
            call = lib.kvs_abi_version
            for _ in shuffled:
                call()

        def gets() -> None:
            get = db.get
            for key in shuffled:
                get(key)

        def misses() -> None:
            get = db.get
            for key in absent:
                get(key)

        def puts() -> None:
            put = db.put
            for key in shuffled:
                put(key, value)

        def scans() -> None:
            for _ in db.items():
                pass

        def scans_backwards() -> None:
            for _ in db.items(reverse=True):
                pass

        rows: Dict[str, Callable[[], None]] = {
            "kvs_abi_version()": calls,
            "get": gets,
            "get, no such key": misses,
            "put": puts,
            "put_many, each": lambda: db.put_many((key, value) for key in shuffled),
            "get_many, each": lambda: _each(db, shuffled),
            "scanned entry": scans,
            "scanned entry, backwards": scans_backwards,
        }
        times: Dict[str, List[float]] = {name: [] for name in rows}
        # One round to warm up; between rounds what was overwritten is merged away.
        for turn in range(rounds + 1):
            for name, row in rows.items():
                start = time.perf_counter_ns()
                row()
                if turn:
                    times[name].append((time.perf_counter_ns() - start) / keys)
            db.compact()
        return {name: statistics.median(of) for name, of in times.items()}


def _each(db: kvs_ctypes.Database, keys: List[bytes]) -> None:
    for at in range(0, len(keys), 1000):
        db.get_many(keys[at : at + 1000])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--value", type=int, default=100, metavar="BYTES")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    rows = measured(given.keys, given.value, given.rounds)
    cheapest = rows["kvs_abi_version()"]
    print("%d keys of 17 bytes, values of %d bytes, median of %d rounds" % (given.keys, given.value, given.rounds))
    for name, nanos in rows.items():
        print("%-26s %8.0f ns %8.1f x" % (name, nanos, nanos / cheapest))


if __name__ == "__main__":
    main()
