"""Threads: the GIL is released in every engine call, and nothing breaks when many threads share everything."""

import operator
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import kvs


@pytest.fixture
def never_switch() -> Iterator[None]:
    """The interpreter takes the GIL from no thread: another one runs only when it is let go of."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    yield
    sys.setswitchinterval(before)


def lets_others_run(call: Callable[[], object], seconds: float = 20) -> bool:
    """Does another thread get on while this one does nothing but `call`?"""
    ready = threading.Event()
    progress: list[None] = []

    def other() -> None:
        ready.set()
        # Waits for the GIL after every step.
        for _ in range(3):
            time.sleep(0)
            progress.append(None)

    thread = threading.Thread(target=other)
    thread.start()
    ready.wait()
    # Between two looks at the clock there are only calls.
    until = time.monotonic() + seconds
    while len(progress) < 3 and time.monotonic() < until:
        for _ in range(50):
            call()
    got_on = len(progress) == 3
    thread.join()
    return got_on


CALLS: dict[str, Callable[[kvs.DB, kvs.Snapshot], object]] = {
    "get": lambda db, _: db.get(b"k00001"),
    "getitem": lambda db, _: db[b"k00001"],
    "missing": lambda db, _: db.get(b"missing"),
    "contains": lambda db, _: b"k00001" in db,
    "put": lambda db, _: db.put(b"k00001", b"v"),
    "setitem": lambda db, _: db.__setitem__(b"k00001", b"v"),
    "delete": lambda db, _: db.delete(b"missing"),
    "delete_range": lambda db, _: db.delete_range(b"m", b"n"),
    "pop": lambda db, _: db.pop(b"missing", None),
    "setdefault": lambda db, _: db.setdefault(b"k00001", b"v"),
    "get_many": lambda db, _: db.get_many([b"k00001", b"k00002"]),
    "del": lambda db, _: (db.setdefault(b"x", b""), operator.delitem(db, b"x")),
    "popitem": lambda db, _: (db.setdefault(b"", b""), db.popitem()),
    "clear": lambda db, _: db.clear(),
    "batch": lambda db, _: db.batch().__exit__(None, None, None),
    "eq": lambda db, _: db == {},
    "view len": lambda db, _: len(db.keys(b"k")),
    "view contains": lambda db, _: (b"k00001", b"v") in db.items(),
    "snapshot get_many": lambda _, snapshot: snapshot.get_many([b"k00001"]),
    "put_many": lambda db, _: db.put_many([(b"k00001", b"v")]),
    "len": lambda db, _: len(db),
    "bool": lambda db, _: bool(db),
    "iterate": lambda db, _: next(iter(db)),
    "sync": lambda db, _: db.sync(),
    "flush": lambda db, _: db.flush(),
    "compact": lambda db, _: db.compact(b"k", b"l"),
    "stats": lambda db, _: db.stats(),
    "verify": lambda db, _: db.verify(),
    "snapshot": lambda db, _: db.snapshot().close(),
    "snapshot get": lambda _, snapshot: snapshot.get(b"k00001"),
    "snapshot contains": lambda _, snapshot: b"k00001" in snapshot,
    "snapshot iterate": lambda _, snapshot: next(iter(snapshot.items())),
}


@pytest.mark.usefixtures("never_switch")
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_every_call_releases_the_gil(call: Callable[[kvs.DB, kvs.Snapshot], object]) -> None:
    with kvs.open(in_memory=True) as db:
        db.put_many((b"k%05d" % n, b"v" * 100) for n in range(100))
        with db.snapshot() as snapshot:
            assert lets_others_run(lambda: call(db, snapshot))


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
