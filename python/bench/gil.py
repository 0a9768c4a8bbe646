"""How much of the GIL is left to a Python thread while another is in the engine.

    python python/bench/gil.py [--entries 10000000] [--seconds 3] [--only compact,verify]

1. A thread counts in pure Python, alone, for some seconds: its solo rate.
2. It counts again while another thread is in one of the calls, each in turn; the rate is told as a part of the solo one.
3. Solo is measured before and after each, and the mean is taken, since machines change their pace.

What is wanted: 80% beside compact and verify, which are one call; 45% beside an iteration over 10 million entries, whose tuples are made with
the GIL held. What else there is has no bar: a short call hands the GIL over twice, and what is left depends on how long it is without it. Keep the machine
quiet: on less than two free processors the threads share one, and every figure is half of what it says.
"""

import argparse
import itertools
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import kvs


# Entries of an iteration that has no bar: beside a thread that wants the GIL, each ten thousand of them take 50 ms.
PART = 200_000


def counting(stop: Callable[[], bool]) -> float:
    """Rounds of pure Python a second, until `stop`."""
    rounds = 0
    begun = time.perf_counter()
    while not stop():
        for _ in range(1000):
            rounds += 1
    return rounds / (time.perf_counter() - begun)


def solo(seconds: float) -> float:
    end = time.perf_counter() + seconds
    return counting(lambda: time.perf_counter() >= end)


def beside(work: Callable[[], object], seconds: float) -> tuple[float, float]:
    """The rate while `work` runs once, and is done again until there was enough time; and how long that took."""
    done = threading.Event()
    began = threading.Event()

    def other() -> None:
        began.set()
        end = time.perf_counter() + seconds
        while True:
            work()
            if time.perf_counter() >= end:
                break
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    began.wait()
    begun = time.perf_counter()
    rate = counting(done.is_set)
    took = time.perf_counter() - begun
    thread.join()
    return rate, took


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--entries", type=int, default=10_000_000)
    arguments.add_argument("--seconds", type=float, default=3.0)
    arguments.add_argument("--only", help="rows, by name, with commas between them")
    given = arguments.parse_args()

    with tempfile.TemporaryDirectory() as directory, kvs.open(Path(directory) / "store") as db:
        kvs.load(db, ((b"%016d" % n, b"x" * 16) for n in range(given.entries)), sync=False)
        db.flush()
        keys = [b"%016d" % n for n in range(0, given.entries, max(1, given.entries // 10_000))]

        def compact() -> None:
            db.put_many((key, b"y" * 16) for key in keys)
            db.compact()

        def each(call: Callable[[bytes], object]) -> Callable[[], None]:
            def work() -> None:
                for key in keys:
                    call(key)

            return work

        def iterate(entries: Callable[[], Iterable[object]], most: int | None = None) -> Callable[[], None]:
            def work() -> None:
                for _ in itertools.islice(entries(), most):
                    pass

            return work

        def batch() -> None:
            with db.batch() as batch:
                for key in keys:
                    batch[key] = b"z" * 16

        def clear() -> None:
            with kvs.open(in_memory=True) as other:
                other.put_many((key, b"") for key in keys)
                other.clear()

        def reopen() -> None:
            kvs.open(Path(directory) / "other").close()

        def repair() -> None:
            with tempfile.TemporaryDirectory() as out:
                kvs.repair(Path(directory) / "other", Path(out) / "out")

        snapshot = db.snapshot()
        calls: list[tuple[str, Callable[[], object], float | None]] = [
            ("compact", compact, 0.80),
            ("verify", db.verify, 0.80),
            ("len", lambda: len(db), 0.80),
            ("items", iterate(db.items), 0.45),
            ("items without a copy", iterate(lambda: db.items(zero_copy=True), PART), None),
            ("keys", iterate(db.keys, PART), None),
            ("values", iterate(db.values, PART), None),
            ("items of a snapshot", iterate(snapshot.items, PART), None),
            ("items by tens", each(lambda key: list(db.items(start=key, limit=10))), None),
            ("seek", each(iter(db.keys()).seek), None),
            ("get", each(db.get), None),
            ("in", each(db.__contains__), None),
            ("get of a snapshot", each(snapshot.get), None),
            ("get_view", each(db.get_view), None),
            ("get_many", lambda: db.get_many(keys), None),
            ("put", each(lambda key: db.put(key, b"z" * 16)), None),
            ("synced put", lambda: db.put(b"synced", b"z", sync=True), None),
            ("put_many", lambda: db.put_many([(key, b"z" * 16) for key in keys]), None),
            ("batch", batch, None),
            ("delete", each(lambda key: db.delete(key + b"?")), None),
            ("delete_range", lambda: db.delete_range(b"a", b"b"), None),
            ("pop and setdefault", each(lambda key: (db.pop(key, None), db.setdefault(key, b"z" * 16))), None),
            ("snapshot", lambda: db.snapshot().close(), None),
            ("flush", lambda: (db.put(b"flushed", b"z"), db.flush()), None),
            ("sync", db.sync, None),
            ("stats", db.stats, None),
            ("clear", clear, None),
            ("open and close", reopen, None),
            ("repair", repair, None),
        ]
        only = given.only.split(",") if given.only else None
        print(f"{os.cpu_count()} processors, CPython {sys.version.split()[0]}, kvs {kvs.__version__}, {given.entries:,} entries")
        for name, work, wanted in calls:
            if only and name not in only:
                continue
            before = solo(given.seconds / 2)
            rate, took = beside(work, given.seconds)
            after = solo(given.seconds / 2)
            part = rate / ((before + after) / 2)
            verdict = "" if wanted is None else f"   wanted {wanted:.0%}: {'yes' if part >= wanted else 'NO'}"
            print(f"{name:22} {part:6.1%} of the solo rate, over {took:5.1f} s{verdict}")


if __name__ == "__main__":
    main()
