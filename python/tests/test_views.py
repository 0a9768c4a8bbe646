"""items, keys, values: every combination of arguments against a sorted list; lazy; re-iterable."""

import itertools
import random
import typing
from collections.abc import Iterator

import pytest

import kvs

KEYS = sorted({bytes(key) for n in range(4) for key in itertools.product(b"\x00a\xff", repeat=n)})
BOUNDS = [None, b"", b"\x00", b"a", b"a\x00", b"aa", b"b", b"\xff", b"\xff\xff", b"\xff\xff\xff\xff"]


def reference(
    pairs: list[tuple[bytes, bytes]],
    prefix: bytes | None,
    start: bytes | None,
    stop: bytes | None,
    reverse: bool,
    limit: int | None,
) -> list[tuple[bytes, bytes]]:
    chosen = [
        (key, value)
        for key, value in pairs
        if (prefix is None or key.startswith(prefix))
        and (start is None or key >= start)
        and (stop is None or key < stop)
    ]
    return (chosen[::-1] if reverse else chosen)[:limit]


@pytest.fixture
def filled(db: kvs.DB) -> kvs.DB:
    db.put_many((key, b"value of " + key) for key in KEYS)
    return db


@pytest.mark.parametrize("prefix", BOUNDS, ids=repr)
def test_all_combinations(filled: kvs.DB, prefix: bytes | None) -> None:
    pairs = [(key, b"value of " + key) for key in KEYS]
    with filled.snapshot() as snapshot:
        for start, stop, reverse, limit in itertools.product(BOUNDS, BOUNDS, [False, True], [None, 0, 1, 3, 1000]):
            wanted = reference(pairs, prefix, start, stop, reverse, limit)
            for source in filled, snapshot:
                arguments = {"start": start, "stop": stop, "reverse": reverse, "limit": limit}
                assert list(source.items(prefix, **arguments)) == wanted, (prefix, arguments)  # type: ignore[call-overload]
                if source is snapshot or limit == 3:
                    assert list(source.keys(prefix, **arguments)) == [key for key, _ in wanted]  # type: ignore[arg-type]
                    assert list(source.values(prefix, **arguments)) == [value for _, value in wanted]  # type: ignore[call-overload]
            view = filled.keys(prefix, start=start, stop=stop, reverse=reverse, limit=limit)
            assert len(view) == len(wanted)
            assert bool(view) == bool(wanted)


def test_all_keys_contain_themselves(filled: kvs.DB) -> None:
    for prefix, start, limit in itertools.product([None, b"a", b"\xff"], [None, b"aa"], [None, 2]):
        keys = filled.keys(prefix, start=start, limit=limit)
        items = filled.items(prefix, start=start, limit=limit)
        values = filled.values(prefix, start=start, limit=limit)
        inside = list(keys)
        for key in KEYS:
            value = b"value of " + key
            assert (key in keys) == (key in inside)
            assert ((key, value) in items) == (key in inside)
            assert (value in values) == (key in inside)
            assert (key, b"another") not in items
    assert b"value of a" not in filled.keys()
    assert 5 not in filled.items()
    assert (b"a",) not in filled.items()
    assert 5 not in filled.values()
    with pytest.raises(TypeError):
        5 in filled.keys()


@pytest.mark.parametrize("count", [63, 64, 65, 191, 192, 193, 5000])
@pytest.mark.parametrize("size", [0, 1000, 100_000])
def test_around_the_edges_of_a_filling(count: int, size: int) -> None:
    if count * size > 1 << 25:
        count = 200
    with kvs.open(in_memory=True) as db:
        pairs = [(b"%06d" % n, b"%06d" % n + bytes(size)) for n in range(count)]
        db.put_many(pairs)
        assert list(db.items()) == pairs
        assert list(db.items(reverse=True)) == pairs[::-1]
        for limit in 63, 64, 65, 192, count - 1, count, count + 1:
            assert list(db.keys(limit=limit)) == [key for key, _ in pairs[:limit]]
            assert len(db.keys(limit=limit)) == min(limit, count)


def test_an_exhausted_iterator_stays_so(filled: kvs.DB) -> None:
    for reverse in False, True:
        iterator = iter(filled.keys(reverse=reverse))
        assert len(list(iterator)) == len(KEYS)
        filled[b"zzz"] = b"new"
        for _ in range(3):
            with pytest.raises(StopIteration):
                next(iterator)
        del filled[b"zzz"]


def test_views_are_lazy_and_can_be_iterated_again(db: kvs.DB) -> None:
    view = db.items(b"a")
    assert list(view) == []
    db[b"a1"] = b"1"
    assert list(view) == [(b"a1", b"1")]
    db[b"a2"] = b"2"
    assert list(view) == list(view) == [(b"a1", b"1"), (b"a2", b"2")]
    first, second = iter(view), iter(view)
    assert next(first) == next(second) == (b"a1", b"1")
    assert iter(first) is first


def test_an_iteration_sees_one_point_in_time(db: kvs.DB) -> None:
    db.put_many((b"%05d" % n, b"old") for n in range(3000))
    iterator = iter(db.items())
    seen = [next(iterator)]
    db.put_many((b"%05d" % n, b"new") for n in range(4000))
    seen.extend(iterator)
    assert seen == [(b"%05d" % n, b"old") for n in range(3000)]


def test_writing_while_iterating(db: kvs.DB) -> None:
    db.put_many((b"%05d" % n, b"x") for n in range(3000))
    for key in db:
        del db[key]
        db[b"new " + key] = b""
    assert len(db.keys(b"new ")) == 3000 == len(db)


def test_reversed_views(filled: kvs.DB) -> None:
    assert list(reversed(filled.keys(b"a"))) == list(filled.keys(b"a"))[::-1]
    assert list(reversed(filled.keys(b"a", reverse=True))) == list(filled.keys(b"a"))
    with pytest.raises(TypeError, match="reverse=True"):
        reversed(filled.keys(limit=3))


def test_bad_arguments(db: kvs.DB) -> None:
    with pytest.raises(kvs.InvalidArgument, match="limit"):
        db.items(limit=-1)
    with pytest.raises(TypeError):
        db.items(limit=1.5)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="encode"):
        db.keys("a")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="encode"):
        db.values(start="a")  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        db.values(b"a", b"b")  # type: ignore[call-overload]


def test_annotations_work_at_run_time() -> None:
    assert typing.get_args(kvs.View[bytes]) == (bytes,)
    assert typing.get_args(kvs.ViewIterator[bytes]) == (bytes,)


def test_a_snapshot_is_a_view_of_the_past(db: kvs.DB) -> None:
    db.update({b"a": b"1", b"b": b"2"})
    with db.snapshot() as snapshot:
        db.update({b"a": b"changed", b"c": b"3"})
        del db[b"b"]
        assert dict(snapshot) == {b"a": b"1", b"b": b"2"}
        assert snapshot == {b"a": b"1", b"b": b"2"}
        assert snapshot.get(b"c", b"none") == b"none"
        assert snapshot.get_many([b"a", b"b", b"c"]) == [b"1", b"2", None]
        assert len(snapshot) == 2 and snapshot and b"b" in snapshot and b"c" not in snapshot
        assert list(snapshot.items(reverse=True, limit=1)) == [(b"b", b"2")]
        iterator = iter(snapshot.keys())
        view = snapshot.keys()
    assert snapshot.closed
    for call in (lambda: snapshot[b"a"], lambda: list(view), lambda: len(snapshot), lambda: snapshot.__enter__()):
        with pytest.raises(kvs.ClosedError):
            call()
    assert list(iterator) == [b"a", b"b"], "an iterator owns what it needs"
    snapshot.close()


def test_snapshots_end_with_the_store(db: kvs.DB) -> None:
    db[b"k"] = b"v"
    snapshot = db.snapshot()
    db.close()
    with pytest.raises(kvs.ClosedError):
        snapshot[b"k"]
    snapshot.close()


def test_random_ranges() -> None:
    random_ = random.Random(20)
    with kvs.open(in_memory=True) as db:
        keys = sorted({random_.randbytes(random_.randrange(1, 4)) for _ in range(3000)})
        db.put_many((key, key) for key in keys)
        for _ in range(300):
            start, stop, prefix = (random_.choice([None, random_.randbytes(random_.randrange(3))]) for _ in range(3))
            reverse, limit = random_.random() < 0.5, random_.choice([None, random_.randrange(200)])
            wanted = reference([(key, key) for key in keys], prefix, start, stop, reverse, limit)
            assert list(db.items(prefix, start=start, stop=stop, reverse=reverse, limit=limit)) == wanted


def test_an_iterator_that_is_called_from_a_finalizer(db: kvs.DB) -> None:
    """Making the results may run the collector, and that may run code which uses the same iterator."""
    import gc

    db.put_many((b"%05d" % n, b"x") for n in range(3000))
    iterator: Iterator[tuple[bytes, bytes]] = iter(db.items())
    seen: list[tuple[bytes, bytes]] = []

    class Cycle:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            seen.extend(pair for pair in [next(iterator, None)] if pair)

    threshold = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for pair in iterator:
            seen.append(pair)
            Cycle()
    finally:
        gc.set_threshold(*threshold)
    assert sorted(seen) == [(b"%05d" % n, b"x") for n in range(3000)]
