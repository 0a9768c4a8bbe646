"""Whatever is passed, in whatever order things are closed: an exception that can be caught, never a crash, a hang or a panic.

The classes of misuse are those of handles in general: wrong types, numbers out of range, buffers of odd shapes, objects that lie or raise,
use after close, in every order, from several threads, under a storm of signals.
"""

import array
import gc
import inspect
import itertools
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy
import pytest

import kvs
from kvs import _kvs


class Raises:
    """Each protocol that an argument may be asked for ends in an exception of its own."""

    def __iter__(self) -> Iterator[Any]:
        raise ZeroDivisionError

    def __len__(self) -> int:
        raise ZeroDivisionError

    def __bool__(self) -> bool:
        raise ZeroDivisionError

    def __index__(self) -> int:
        raise ZeroDivisionError

    def __fspath__(self) -> str:
        raise ZeroDivisionError

    def __eq__(self, other: object) -> bool:
        raise ZeroDivisionError

    __hash__ = None  # type: ignore[assignment]

    @property
    def keys(self) -> Any:
        raise ZeroDivisionError


class Lies(dict[Any, Any]):
    """Says that it has what it has not."""

    def keys(self) -> Any:
        return [b"a", "b", None]

    def items(self) -> Any:
        return iter([(b"a", b"1"), (b"b",), 5])

    def __len__(self) -> int:
        return 1 << 40


def released() -> memoryview:
    view = memoryview(b"gone")
    view.release()
    return view


def odd_things() -> list[Any]:
    return [
        None,
        True,
        -1,
        1 << 70,
        1.5,
        float("nan"),
        "text",
        "\ud800",
        b"",
        b"k",
        bytes(70_000),
        bytearray(b"k"),
        memoryview(b"abcdef")[::2],
        numpy.zeros((3, 4)).data[::-1],
        released(),
        array.array("d", [1.0]),
        numpy.zeros(0),
        [],
        [b"k"],
        [(b"k", b"v")],
        [(b"k",)],
        (b"k", b"v"),
        {b"k": b"v"},
        {"k": 1},
        Lies(),
        Raises(),
        iter([b"k"]),
        object(),
        type,
        print,
    ]


# What a caller can be told; MemoryError too, for what is too large. NotImplementedError is what a memoryview of two dimensions says to `iter`.
EXPECTED = (
    TypeError,
    ValueError,
    KeyError,
    OverflowError,
    BufferError,
    MemoryError,
    NotImplementedError,
    ZeroDivisionError,
    StopIteration,
    kvs.Error,
    OSError,
)


def tried(call: Callable[..., Any], *args: Any, **named: Any) -> None:
    try:
        result = call(*args, **named)
        if isinstance(result, (kvs.View, _kvs.ViewIterator)):
            list(itertools.islice(result, 10))
    except EXPECTED as error:
        assert not isinstance(error, kvs.InternalError), (call, args, named)


def objects(path: Path | None) -> dict[str, Any]:
    db = kvs.open(path) if path else kvs.open(in_memory=True)
    db.update({b"a": b"1", b"b": b"2"})
    return {
        "db": db,
        "snapshot": db.snapshot(),
        "batch": db.batch(),
        "view": db.items(),
        "iterator": iter(db.items()),
        "pinned": db.get_view(b"a"),
    }


NAMES = [
    (kind, name)
    for kind, class_ in {"db": kvs.DB, "snapshot": kvs.Snapshot, "batch": kvs.Batch, "view": kvs.View, "iterator": kvs.ViewIterator}.items()
    for name, member in inspect.getmembers(class_, callable)
    if name not in ("__class__", "__init_subclass__", "__new__", "__subclasshook__", "__getattribute__", "__setattr__", "__delattr__", "__dir__")
    and name not in ("close", "__exit__") + (("__eq__", "__ne__") if kind == "batch" else ())
]


@pytest.mark.parametrize(("kind", "name"), NAMES, ids=lambda value: value)
def test_odd_arguments(kind: str, name: str) -> None:
    """Each method with each thing in each place, and with two of them; afterwards the store is whole."""
    everything = objects(None)
    method = getattr(everything[kind], name)
    for thing in odd_things():
        tried(method, thing)
        for keyword in "key", "value", "default", "keys", "items", "sync", "prefix", "start", "stop", "reverse", "limit", "name":
            tried(method, **{keyword: thing})
    random_ = random.Random(name)
    for _ in range(150):
        things = odd_things()
        tried(method, random_.choice(things), random_.choice(things))
        tried(method, b"a", random_.choice(things))
        tried(method, random_.choice(things), start=random_.choice(things), limit=random_.choice(things))
    tried(method, everything["db"])
    tried(method, everything["snapshot"], everything["iterator"])
    db = everything["db"]
    db[b"still"] = b"here"
    assert db[b"still"] == b"here"
    db.verify()


@pytest.mark.parametrize("name", ["open", "repair", "dbm_open", "load"])
def test_odd_arguments_of_functions(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    function = getattr(kvs, name)
    options = [option for option, _, _ in _kvs._options()] + ["codec", "key_codec", "in_memory", "flag", "total", "step", "progress"]
    for thing in odd_things():
        if isinstance(thing, str) and name == "dbm_open":
            continue  # A path.
        tried(function, thing)
        tried(function, thing, thing)
        for option in options:
            tried(function, tmp_path / "store", **{option: thing})
            tried(function, None, **({"in_memory": True, option: thing} if option != "in_memory" else {option: thing}))
    gc.collect()


def uses(everything: dict[str, Any]) -> None:
    """Everything once; only the errors of what is closed may come out."""
    calls: list[Callable[[], Any]] = [
        lambda: everything["db"][b"a"],
        lambda: everything["db"].put(b"c", b"3"),
        lambda: everything["db"].stats(),
        lambda: everything["snapshot"][b"a"],
        lambda: len(everything["snapshot"]),
        lambda: everything["batch"].put(b"d", b"4"),
        lambda: list(everything["view"]),
        lambda: next(everything["iterator"]),
        lambda: everything["iterator"].seek(b"a"),
        lambda: bytes(everything["pinned"]),
        lambda: repr(everything),
    ]
    for call in calls:
        try:
            call()
        except KeyError as error:
            assert error.args[0] in everything or error.args[0] in ENDS, error  # Let go of.
        except (kvs.ClosedError, StopIteration):
            pass
        except kvs.InvalidArgument as error:
            assert "batch is already" in str(error) or "at its end" in str(error)
        except ValueError as error:
            assert "released" in str(error)


ENDS: dict[str, Callable[[Any], Any]] = {
    "db": lambda db: db.close(),
    "snapshot": lambda snapshot: snapshot.close(),
    "batch": lambda batch: batch.__exit__(ZeroDivisionError, None, None),
    "iterator": lambda iterator: list(iterator),
    "pinned": lambda pinned: pinned.release(),
}


@pytest.mark.parametrize("how", ["close", "drop", "both"])
def test_every_order_of_ends(path: Path, how: str) -> None:
    """Five objects are closed, or let go of, in each of 120 orders; all of them are used in between."""
    for n, order in enumerate(itertools.permutations(ENDS)):
        everything = objects(path if n % 10 == 0 else None)
        closed = False
        for kind in order:
            if how != "drop":
                try:
                    ENDS[kind](everything[kind])
                except kvs.ClosedError:
                    assert closed
                closed |= kind == "db"
            if how != "close":
                del everything[kind]
            uses(everything)
        everything.clear()


def test_closing_twice_and_by_many(path: Path) -> None:
    """Close races with itself, with calls of all kinds and with the end of every object."""
    for round_ in range(60):
        everything = objects(path if round_ % 4 == 0 else None)
        began = threading.Barrier(8)

        def work(n: int) -> None:
            began.wait()
            if n < 3:
                everything["db"].close()
            elif n == 3:
                everything["snapshot"].close()
            else:
                for _ in range(3):
                    uses(dict(everything))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
        assert everything["db"].closed
        assert bytes(everything["pinned"]) == b"1"


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there is no timer")
def test_a_storm_of_signals(path: Path) -> None:
    """System calls are interrupted all the time: each is taken up again, and none is done twice."""
    caught = 0

    def handler(*_: object) -> None:
        nonlocal caught
        caught += 1

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        model: dict[bytes, bytes] = {}
        for round_ in range(8):
            with kvs.open(path, segment_bytes_min="64k", segment_bytes_max="64k", memtable_bytes_max="512k", table_io="positioned") as db:
                for n in range(300):
                    key = b"%d" % (n % 100)
                    db.put(key, b"%d-%d" % (round_, n) * 20, sync=n % 20 == 0)
                    model[key] = b"%d-%d" % (round_, n) * 20
                db.flush()
                db.compact()
                assert db == model
                db.verify()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert caught > 50


def test_a_comparison_that_writes(db: kvs.DB) -> None:
    """Code of the caller runs in the middle of ours, and uses the same objects."""
    db.update({b"a": b"1", b"b": b"2"})

    class Writes(dict[bytes, bytes]):
        def get(self, key: bytes, default: Any = None) -> Any:
            db[b"new " + key] = b"x"
            return {b"a": b"1", b"b": b"2"}.get(key)

        def __len__(self) -> int:
            db.close()
            return 2

    assert db == Writes()
    assert db.closed


def test_deep_recursion(db: kvs.DB) -> None:
    """An iterable that reads the store it is written to, far down."""

    def nested(depth: int) -> Any:
        if depth:
            db.put_many(nested(depth - 1))
        yield b"%d" % depth, b"x"

    limit = sys.getrecursionlimit()
    with pytest.raises(RecursionError):
        db.put_many(nested(limit))
    db.put_many(nested(50))
    assert len(db) >= 51
