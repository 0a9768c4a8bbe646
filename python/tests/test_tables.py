"""Flushes, merges and range deletes change where the data is, and never what is read."""

from collections.abc import Callable
from pathlib import Path

import pytest

import kvs

BOUNDS = [None, b"", b"0050", bytearray(b"0100"), memoryview(b"0150"), b"x"]


def inside(key: bytes, start: object, stop: object) -> bool:
    return (start is None or bytes(start) <= key) and (stop is None or key < bytes(stop))  # type: ignore[call-overload]


@pytest.mark.parametrize("flushed", [False, True])
def test_delete_range_is_a_delete_of_each(flushed: bool) -> None:
    with kvs.open(in_memory=True) as db:
        for start in BOUNDS:
            for stop in BOUNDS:
                pairs = {b"%04d" % n: b"%d" % n for n in range(200)}
                db.update(pairs)
                if flushed:
                    db.flush()
                with db.snapshot() as before:
                    db.delete_range(start, stop, sync=True)
                    assert dict(db) == {key: value for key, value in pairs.items() if not inside(key, start, stop)}
                    assert dict(before) == pairs


def test_compact_keeps_what_is_read(db: kvs.DB) -> None:
    expected = {}
    for round_ in range(4):
        pairs = {b"%04d" % n: b"%d-%d" % (round_, n) for n in range(round_, 1000, 2)}
        db.update(pairs)
        expected.update(pairs)
        db.flush()
    db.delete_range(b"0100", b"0900")
    expected = {key: value for key, value in expected.items() if not b"0100" <= key < b"0900"}
    with db.snapshot() as snapshot:
        for start, stop in (b"0000", b"0050"), (b"0500", None), (None, b"0500"), (b"9", b"0"), (None, None):
            db.compact(start, stop)
            assert dict(db) == expected == dict(snapshot)


def test_compact_gives_space_back(path: Path) -> None:
    with kvs.open(path) as db:
        db.put_many((b"%05d" % n, b"x" * 100) for n in range(10_000))
        db.flush()
        full = db.stats()
        assert full["table_bytes"] > 1_000_000
        db.delete_range(stop=b"09000")
        db.compact()
        stats = db.stats()
        assert stats["table_bytes"] < full["table_bytes"] / 5
        assert stats["merges"] >= 1
        assert len(db) == 1000
    with kvs.open(path) as db:
        assert len(db) == 1000


def test_what_is_flushed_survives_reopening(path: Path) -> None:
    with kvs.open(path) as db:
        db[b"k"] = b"v"
        db.flush()
        stats = db.stats()
        assert stats["flushed_seq"] == stats["durable_seq"] == stats["visible_seq"] == 1
        db[b"l"] = b"w"
        db.sync()
        stats = db.stats()
        assert (stats["flushed_seq"], stats["durable_seq"]) == (1, 2)
    with kvs.open(path, create=False) as db:
        assert dict(db) == {b"k": b"v", b"l": b"w"}


def test_small_budgets_make_the_store_flush_by_itself(path: Path) -> None:
    with kvs.open(path, segment_bytes_min="16k", segment_bytes_max="64k", memtable_bytes_max="256k") as db:
        for n in range(5000):
            db[b"%05d" % (n % 1000)] = b"%d" % n * 100
        assert db.stats()["flushes"] >= 3
        assert len(db) == 1000
        assert db[b"00999"] == b"4999" * 100


def test_bounds_are_bytes_and_not_too_long(db: kvs.DB) -> None:
    for call in db.delete_range, db.compact:
        with pytest.raises(TypeError):
            call("text")  # type: ignore[arg-type]
    with pytest.raises(kvs.TooLargeError):
        db.delete_range(bytes(1 << 20))


def test_read_only(path: Path) -> None:
    with kvs.open(path) as db:
        db[b"k"] = b"v"
    with kvs.open(path, read_only=True) as db:
        calls: list[Callable[[], object]] = [db.delete_range, db.compact]
        for call in calls:
            with pytest.raises(kvs.ReadOnlyError):
                call()
        assert dict(db) == {b"k": b"v"}
