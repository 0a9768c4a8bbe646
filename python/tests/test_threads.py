"""Threads: the GIL is released in every engine call, and nothing breaks when many threads share everything."""

import inspect
import operator
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import kvs
from kvs import _kvs


@pytest.fixture
def never_switch() -> Iterator[None]:
    """The interpreter takes the GIL from no thread: another one runs only when it is let go of."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    yield
    sys.setswitchinterval(before)


def lets_others_run(call: Callable[[], object], seconds: float = 20) -> bool:
    """Does another thread get on while this one does nothing but `call`?"""
    begun: list[None] = []
    progress: list[None] = []

    def other() -> None:
        while not begun:
            time.sleep(0.0005)
        # Waits for the GIL after every step.
        for _ in range(3):
            time.sleep(0)
            progress.append(None)

    thread = threading.Thread(target=other)
    thread.start()
    # From here on this thread has the GIL, and the other one has seen nothing yet: it once could make its steps before the first call.
    begun.append(None)
    # Nothing but `call` lets go of the GIL here: neither `len` nor a look at the clock does.
    until = time.monotonic() + seconds
    while len(progress) < 3 and time.monotonic() < until:
        call()
    got_on = len(progress) == 3
    thread.join()
    return got_on


class Everything:
    """One object of each class, over a store of a hundred entries."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.db = kvs.open(in_memory=True)
        self.db.put_many((b"k%05d" % n, b"v" * 100) for n in range(100))
        self.snapshot = self.db.snapshot()
        self.view, self.keys = self.db.items(b"k"), self.db.keys(b"k", limit=50)
        self.iterator = iter(self.db.items())
        self.closed = self.db.snapshot()
        with kvs.open(path):
            pass

    def repair(self) -> None:
        kvs.repair(self.path, self.path.parent / "out")
        shutil.rmtree(self.path.parent / "out")

    def close(self) -> None:
        self.snapshot.close()
        self.db.close()


# By class and method, everything that reaches the engine.
CALLS: dict[str, Callable[[Everything], object]] = {
    "DB.get": lambda e: e.db.get(b"k00001"),
    "DB.get, missing": lambda e: e.db.get(b"missing"),
    "DB.__getitem__": lambda e: e.db[b"k00001"],
    "DB.__contains__": lambda e: b"k00001" in e.db,
    "DB.get_many": lambda e: e.db.get_many([b"k00001", b"k00002"]),
    "DB.get_view": lambda e: e.db.get_view(b"k00001"),
    "DB.put": lambda e: e.db.put(b"k00001", b"v"),
    "DB.__setitem__": lambda e: e.db.__setitem__(b"k00001", b"v"),
    "DB.put_many": lambda e: e.db.put_many([(b"k00001", b"v")]),
    "DB.update": lambda e: e.db.update({b"k00001": b"v"}),
    "DB.delete": lambda e: e.db.delete(b"missing"),
    "DB.__delitem__": lambda e: (e.db.setdefault(b"x", b""), operator.delitem(e.db, b"x")),
    "DB.delete_range": lambda e: e.db.delete_range(b"m", b"n"),
    "DB.pop": lambda e: e.db.pop(b"missing", None),
    "DB.popitem": lambda e: (e.db.setdefault(b"", b""), e.db.popitem()),
    "DB.setdefault": lambda e: e.db.setdefault(b"k00001", b"v"),
    "DB.clear": lambda e: e.db.clear(),
    "DB.snapshot": lambda e: e.db.snapshot(),
    "DB.sync": lambda e: e.db.sync(),
    "DB.flush": lambda e: e.db.flush(),
    "DB.compact": lambda e: e.db.compact(b"k", b"l"),
    "DB.verify": lambda e: e.db.verify(),
    "DB.interrupt": lambda e: e.db.interrupt(),
    "DB.stats": lambda e: e.db.stats(),
    "DB.property": lambda e: e.db.property("writes"),
    "DB.approximate_len": lambda e: e.db.approximate_len,
    "DB.close": lambda e: e.db.close(),
    "DB.__exit__": lambda e: e.db.__exit__(None, None, None),
    "DB.__len__": lambda e: len(e.db),
    "DB.__bool__": lambda e: bool(e.db),
    "DB.__iter__": lambda e: iter(e.db),
    "DB.__reversed__": lambda e: reversed(e.db),
    "DB.__eq__": lambda e: e.db == {},
    "DB.__ne__": lambda e: e.db != {},
    "DB.__repr__": lambda e: repr(e.db),
    "DB._repr_html_": lambda e: e.db._repr_html_(),
    "Snapshot.get": lambda e: e.snapshot.get(b"k00001"),
    "Snapshot.get_many": lambda e: e.snapshot.get_many([b"k00001"]),
    "Snapshot.get_view": lambda e: e.snapshot.get_view(b"k00001"),
    "Snapshot.__getitem__": lambda e: e.snapshot[b"k00001"],
    "Snapshot.__contains__": lambda e: b"k00001" in e.snapshot,
    "Snapshot.__len__": lambda e: len(e.snapshot),
    "Snapshot.__bool__": lambda e: bool(e.snapshot),
    "Snapshot.__iter__": lambda e: iter(e.snapshot),
    "Snapshot.__reversed__": lambda e: reversed(e.snapshot),
    "Snapshot.__eq__": lambda e: e.snapshot == {},
    "Snapshot.__ne__": lambda e: e.snapshot != {},
    "Snapshot.__repr__": lambda e: repr(e.snapshot),
    "Snapshot.close": lambda e: e.closed.close(),
    "Snapshot.__exit__": lambda e: e.closed.__exit__(None, None, None),
    "Batch.__exit__": lambda e: e.db.batch().__exit__(None, None, None),
    "View.__iter__": lambda e: iter(e.view),
    "View.__reversed__": lambda e: reversed(e.view),
    "View.__len__": lambda e: len(e.view),
    "View.__bool__": lambda e: bool(e.view),
    "View.__contains__": lambda e: (b"k00001", b"v") in e.view,
    "View.__contains__, by a walk": lambda e: b"missing" in e.keys,
    "View.__repr__": lambda e: repr(e.view),
    "ViewIterator.__next__": lambda e: list(e.db.values(limit=2)),
    "ViewIterator.__next__, without a copy": lambda e: list(e.db.items(limit=2, zero_copy=True)),
    "ViewIterator.seek": lambda e: e.iterator.seek(b"k00050"),
    "open": lambda e: kvs.open(in_memory=True),
    "open, on disk": lambda e: kvs.open(e.path, read_only=True).close(),
    "repair": lambda e: e.repair(),
    "load": lambda e: kvs.load(e.db, {b"k00001": b"v"}, progress=False),
}

# What does not reach the engine: it reads or sets what the object itself has, or makes another object.
WITHOUT = {
    "DB": {"__enter__", "__reduce__", "__hash__", "batch", "closed", "items", "keys", "path", "values"},
    "Snapshot": {"__enter__", "__reduce__", "__hash__", "closed", "items", "keys", "values"},
    "Batch": {"__enter__", "__reduce__", "__repr__", "__setitem__", "__delitem__", "__len__", "delete", "delete_range", "put"},
    "View": {"__class_getitem__"},
    "ViewIterator": {"__class_getitem__", "__iter__"},
    "Pinned": {"__len__"},
}


@pytest.mark.usefixtures("never_switch")
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_every_call_releases_the_gil(path: Path, call: Callable[[Everything], object]) -> None:
    everything = Everything(path)
    assert lets_others_run(lambda: call(everything))
    everything.close()


def test_every_call_is_in_the_test_above() -> None:
    named = {name.split(",")[0] for name in CALLS}
    # In a comparison Python fills in what is missing; the others are every object's, or pickle's.
    usual = {"__doc__", "__module__", "__new__", "__weakref__", "__slotnames__", "__getstate__", "__lt__", "__le__", "__gt__", "__ge__"}
    for class_ in kvs.DB, kvs.Snapshot, kvs.Batch, kvs.View, kvs.ViewIterator, _kvs.Pinned:
        for member in set(vars(class_)) - usual:
            assert (member in WITHOUT[class_.__name__]) != (f"{class_.__name__}.{member}" in named), (class_, member)
    functions = {name for name in kvs.__all__ if inspect.isroutine(getattr(kvs, name))}
    # One is asyncio's and uses threads, the other opens with `open`.
    assert functions - {"aio", "dbm_open"} == {name for name in named if "." not in name}


@pytest.mark.usefixtures("never_switch")
@pytest.mark.skipif(not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="there is no GIL")
def test_the_test_above_can_fail() -> None:
    mapping = {b"k": b"v"}
    assert not lets_others_run(lambda: mapping.get(b"k"), seconds=1)


@pytest.mark.usefixtures("never_switch")
def test_two_threads_get_on_while_a_third_is_in_a_long_call(db: kvs.DB) -> None:
    big, busy, done = bytes(64 << 20), threading.Event(), threading.Event()
    steps = [0, 0]

    def step(which: int) -> None:
        while not done.is_set():
            db.get(b"k")
            steps[which] += busy.is_set()

    threads = [threading.Thread(target=step, args=(which,)) for which in range(2)]
    for thread in threads:
        thread.start()
    try:
        until = time.monotonic() + 60
        while min(steps) == 0 and time.monotonic() < until:
            busy.set()
            db.put(b"big", big)
            busy.clear()
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert min(steps) > 0


def test_many_threads_put_and_get(db: kvs.DB) -> None:
    def work(thread: int) -> None:
        for n in range(300):
            key = b"%d-%d" % (thread, n)
            db[key] = key * 10
            assert db[key] == key * 10
            assert db.get_many([key, b"missing"]) == [key * 10, None]
            if n % 3 == 0:
                del db[key]
            if n % 50 == 0:
                with db.batch() as batch:
                    for m in range(20):
                        batch[b"batch %d" % m] = b"%d" % thread
                with db.snapshot() as snapshot:
                    assert len(set(snapshot.values(b"batch "))) == 1, "a batch is visible as a whole"

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))
    assert len(db) == 16 * 200 + 20


def test_threads_share_an_iterator(db: kvs.DB) -> None:
    keys = [b"%06d" % n for n in range(20_000)]
    db.put_many((key, b"") for key in keys)
    iterator = iter(db.keys())
    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lambda _: list(iterator), range(8)))
    for part in parts:
        assert part == sorted(part)
    assert sorted(key for part in parts for key in part) == keys, "each key goes to one thread"


def test_threads_share_a_batch(db: kvs.DB) -> None:
    with db.batch() as batch, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: batch.put(b"%d" % n, b""), range(2000)))
        assert len(batch) == 2000
    assert len(db) == 2000


def test_of_many_that_pop_one_gets_it(db: kvs.DB) -> None:
    for _ in range(50):
        db[b"k"] = b"v"
        with ThreadPoolExecutor(8) as pool:
            got = list(pool.map(lambda _: db.pop(b"k", None), range(8)))
        assert sorted(got, key=str) == sorted([b"v"] + [None] * 7, key=str)


def test_of_many_that_set_a_default_one_does(db: kvs.DB) -> None:
    for round_ in range(50):
        key = b"%d" % round_
        with ThreadPoolExecutor(8) as pool:
            got = set(pool.map(lambda n: db.setdefault(key, b"%d" % n), range(8)))
        assert got == {db[key]}


def test_popitem_hands_each_pair_to_one_thread(db: kvs.DB) -> None:
    db.put_many((b"%04d" % n, b"") for n in range(400))

    def take(_: int) -> list[bytes]:
        taken = []
        try:
            while True:
                taken.append(db.popitem()[0])
        except KeyError:
            return taken

    with ThreadPoolExecutor(8) as pool:
        taken = [key for part in pool.map(take, range(8)) for key in part]
    assert sorted(taken) == [b"%04d" % n for n in range(400)]


def test_closing_under_the_feet_of_others(db: kvs.DB) -> None:
    """Calls that are under way end, later ones raise ClosedError; nothing else happens."""
    db.put_many((b"%05d" % n, b"x" * 100) for n in range(5000))
    began = threading.Barrier(9)

    def work(n: int) -> None:
        began.wait()
        with pytest.raises(kvs.ClosedError):
            while True:
                match n % 4:
                    case 0:
                        db[b"%05d" % n] = b"y"
                    case 1:
                        list(db.items())
                    case 2:
                        db.get_many([b"00000"] * 100)
                    case 3:
                        with db.snapshot() as snapshot:
                            len(snapshot)

    with ThreadPoolExecutor(8) as pool:
        results = [pool.submit(work, n) for n in range(8)]
        began.wait()
        time.sleep(0.05)
        db.close()
        for result in results:
            result.result(60)
