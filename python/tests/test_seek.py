"""Iterators can be moved: against a sorted list, in both directions, inside ranges and limits."""

import random
from bisect import bisect_left, bisect_right
from concurrent.futures import ThreadPoolExecutor

import pytest

import kvs

BOUNDS = [None, b"0", b"0100", b"0101x", b"0500", b"9"]


@pytest.fixture
def keys(db: kvs.DB) -> list[bytes]:
    keys = [b"%04d" % n for n in range(0, 1000, 3)]
    db.put_many((key, b"value of " + key) for key in keys)
    return keys


@pytest.mark.parametrize("flushed", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_random_seeks(db: kvs.DB, keys: list[bytes], reverse: bool, flushed: bool) -> None:
    random_ = random.Random(reverse)
    if flushed:
        db.flush()
    for _ in range(60):
        start, stop = random_.choice(BOUNDS), random_.choice(BOUNDS)
        inside = [k for k in keys if (start is None or k >= start) and (stop is None or k < stop)]
        iterator = iter(db.items(start=start, stop=stop, reverse=reverse))
        at = 0
        walk = inside[::-1] if reverse else inside
        for _ in range(30):
            if random_.random() < 0.4:
                key = random_.choice([b"%04d" % random_.randrange(1100), b"", b"\xff", random_.choice(keys)])
                at = len(inside) - bisect_right(inside, key) if reverse else bisect_left(inside, key)
                assert iterator.seek(key) == (at < len(walk)), (start, stop, key)
            else:
                for _ in range(random_.choice([1, 1, 100])):
                    if at < len(walk):
                        assert next(iterator) == (walk[at], b"value of " + walk[at])
                        at += 1


def test_skipped_entries_do_not_count_for_the_limit(db: kvs.DB, keys: list[bytes]) -> None:
    iterator = iter(db.keys(limit=5))
    assert next(iterator) == b"0000"
    assert iterator.seek(b"0500")
    assert next(iterator) == b"0501"
    assert iterator.seek(b"0100")
    assert list(iterator) == [b"0102", b"0105", b"0108"]


def test_an_exhausted_limit(db: kvs.DB, keys: list[bytes]) -> None:
    iterator = iter(db.keys(limit=1))
    assert next(iterator) == b"0000"
    assert not iterator.seek(b"0500")
    with pytest.raises(StopIteration):
        next(iterator)


def test_seek_past_the_end_and_back(db: kvs.DB, keys: list[bytes]) -> None:
    iterator = iter(db.keys())
    assert not iterator.seek(b"9")
    assert iterator.seek(b"0990")
    assert list(iterator) == [b"0990", b"0993", b"0996", b"0999"]
    with pytest.raises(kvs.InvalidArgument, match="at its end"):
        iterator.seek(b"0")
    with pytest.raises(StopIteration):
        next(iterator)


def test_a_small_store_read_ahead_can_still_be_sought(db: kvs.DB) -> None:
    """The first filling reads to the end; that must not end the iteration for seek."""
    db.update({b"a": b"1", b"b": b"2", b"c": b"3"})
    iterator = iter(db)
    assert next(iterator) == b"a"
    assert iterator.seek(b"c") and next(iterator) == b"c"
    assert iterator.seek(b"") and list(iterator) == [b"a", b"b", b"c"]


def test_seeks_stay_in_their_point_in_time(db: kvs.DB, keys: list[bytes]) -> None:
    iterator = iter(db.items())
    db.clear()
    db[b"0501"] = b"new"
    assert iterator.seek(b"0500")
    assert next(iterator) == (b"0501", b"value of 0501")


def test_wrong_keys_and_closed_stores(db: kvs.DB, keys: list[bytes]) -> None:
    iterator = iter(db)
    with pytest.raises(TypeError, match="encode"):
        iterator.seek("text")  # type: ignore[arg-type]
    assert next(iterator) == b"0000"
    db.close()
    with pytest.raises(kvs.ClosedError):
        iterator.seek(b"0500")


def test_threads_seek_one_iterator(db: kvs.DB, keys: list[bytes]) -> None:
    iterator = iter(db.keys())
    known = set(keys)

    def work(seed: int) -> None:
        random_ = random.Random(seed)
        for _ in range(500):
            assert iterator.seek(random_.choice(keys[:100]))
            assert next(iterator) in known

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
