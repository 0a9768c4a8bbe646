"""How much of the GIL is left to a Python thread while another is in the engine.

    python python/bench/gil.py [--entries 10000000] [--seconds 3]

1. A thread counts in pure Python, alone, for some seconds: its solo rate.
2. It counts again while another thread compacts, verifies, syncs, gets, puts or iterates; the rate is told as a part of the solo one.
3. Solo is measured before and after each, and the mean is taken, since machines change their pace.

What is wanted: 80% beside compact and verify, which are one call; 45% beside an iteration over 10 million entries, whose tuples are made with
the GIL held. Keep the machine quiet: on less than two free processors the threads share one, and every figure is half of what it says.
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import kvs


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
    given = arguments.parse_args()

    with tempfile.TemporaryDirectory() as directory, kvs.open(Path(directory) / "store") as db:
        kvs.load(db, ((b"%016d" % n, b"x" * 16) for n in range(given.entries)), sync=False)
        db.flush()
        keys = [b"%016d" % n for n in range(0, given.entries, max(1, given.entries // 10_000))]

        def compact() -> None:
            db.put_many((key, b"y" * 16) for key in keys)
            db.compact()

        def get() -> None:
            for key in keys:
                db.get(key)

        def put() -> None:
            for key in keys:
                db.put(key, b"z" * 16)

        def iterate() -> None:
            for _ in db.items():
                pass

        print(f"{os.cpu_count()} processors, CPython {sys.version.split()[0]}, kvs {kvs.__version__}, {given.entries:,} entries")
        for name, work, wanted in (
            ("compact", compact, 0.80),
            ("verify", db.verify, 0.80),
            ("len", lambda: len(db), 0.80),
            ("items", iterate, 0.45),
            ("get", get, None),
            ("get_many", lambda: db.get_many(keys), None),
            ("put", put, None),
        ):
            before = solo(given.seconds / 2)
            rate, took = beside(work, given.seconds)
            after = solo(given.seconds / 2)
            part = rate / ((before + after) / 2)
            verdict = "" if wanted is None else f"   wanted {wanted:.0%}: {'yes' if part >= wanted else 'NO'}"
            print(f"{name:10} {part:6.1%} of the solo rate, over {took:5.1f} s{verdict}")


if __name__ == "__main__":
    main()
