"""A store is a mapping: every operation a dict has, and those a dict has not."""

import copy
import pickle
import re
import types
import weakref
from collections.abc import Collection, Mapping, MutableMapping
from pathlib import Path

import pytest

import kvs


def test_is_a_mapping(db: kvs.DB) -> None:
    assert isinstance(db, MutableMapping)
    with db.snapshot() as snapshot:
        assert isinstance(snapshot, Mapping)
        assert not isinstance(snapshot, MutableMapping)
    assert isinstance(db.keys(), Collection)


def test_every_method_that_the_abstract_class_promises() -> None:
    for promised, class_ in (MutableMapping, kvs.DB), (Mapping, kvs.Snapshot):
        for name in dir(promised):
            if not name.startswith("_") or name in promised.__abstractmethods__:
                assert callable(getattr(class_, name)), name


def test_set_get_delete(db: kvs.DB) -> None:
    db[b"k"] = b"v"
    assert db[b"k"] == b"v"
    assert b"k" in db
    assert b"other" not in db
    db[b"k"] = b"w"
    assert db[b"k"] == b"w"
    assert len(db) == 1
    del db[b"k"]
    assert b"k" not in db
    assert len(db) == 0


def test_missing_key(db: kvs.DB) -> None:
    key = b"missing \xff"
    with pytest.raises(KeyError) as caught:
        db[key]
    assert caught.value.args == (key,)
    with pytest.raises(KeyError) as caught:
        del db[key]
    assert caught.value.args == (key,)
    with pytest.raises(KeyError) as caught:
        db.pop(key)
    assert caught.value.args == (key,)
    with db.snapshot() as snapshot, pytest.raises(KeyError) as caught:
        snapshot[key]
    assert caught.value.args == (key,)
    db.delete(key)


def test_get(db: kvs.DB) -> None:
    db.put(b"k", b"v")
    default = object()
    assert db.get(b"k") == b"v"
    assert db.get(b"x") is None
    assert db.get(b"x", default) is default
    assert db.get(b"x", default=default) is default
    assert db.get(key=b"k", default=default) == b"v"


def test_empty_value_is_a_value(db: kvs.DB) -> None:
    db[b"k"] = b""
    assert db.get(b"k", b"default") == b""
    assert b"k" in db
    assert db.pop(b"k", None) == b""
    assert db.setdefault(b"k", b"") == b""
    assert db.setdefault(b"k", b"x") == b""


def test_pop_popitem_setdefault(db: kvs.DB) -> None:
    db.update({b"b": b"2", b"a": b"1"})
    assert db.pop(b"b") == b"2"
    assert db.pop(b"b", None) is None
    assert db.pop(b"b", default=b"x") == b"x"
    assert db.popitem() == (b"a", b"1")
    with pytest.raises(KeyError):
        db.popitem()
    assert db.setdefault(b"k", b"first") == b"first"
    assert db.setdefault(b"k", b"second") == b"first"
    assert db[b"k"] == b"first"


def test_get_many(db: kvs.DB) -> None:
    db.update({b"a": b"1", b"b": b"2"})
    assert db.get_many([b"b", b"x", b"a", b"b"]) == [b"2", None, b"1", b"2"]
    assert db.get_many((key for key in [b"a", b"x"]), default=b"") == [b"1", b""]
    assert db.get_many([]) == []
    with pytest.raises(TypeError):
        db.get_many(b"ab")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        db.get_many(5)  # type: ignore[call-overload]


def test_get_many_of_more_than_one_chunk(db: kvs.DB) -> None:
    db.put_many((b"%05d" % n, b"v%d" % n) for n in range(0, 5000, 2))
    keys = [b"%05d" % n for n in range(5000)]
    wanted = [b"v%d" % n if n % 2 == 0 else None for n in range(5000)]
    assert db.get_many(keys) == wanted
    with db.snapshot() as snapshot:
        db.clear()
        assert snapshot.get_many(keys) == wanted
    assert db.get_many(keys) == [None] * 5000


def test_put_many_takes_mappings_and_pairs(db: kvs.DB) -> None:
    db.put_many({b"a": b"1"})
    db.put_many([(b"b", b"2"), [b"c", b"3"]])  # type: ignore[list-item]
    db.put_many(pair for pair in [(b"d", b"4")])
    db.update(db.snapshot())
    db.update(db)
    db.update(kvs.open(in_memory=True))
    db.update(types.MappingProxyType({b"c": b"3"}))
    db.put_many({})
    db.put_many([])
    assert dict(db) == {b"a": b"1", b"b": b"2", b"c": b"3", b"d": b"4"}
    db.put_many([(b"a", b"first"), (b"a", b"last")], sync=True)
    assert db[b"a"] == b"last"


@pytest.mark.parametrize("bad", [[(b"a",)], [(b"a", b"b", b"c")], [5], [(b"a", "b")], [("a", b"b")], {b"a": 1}, 5, [None]])
def test_put_many_is_all_or_nothing(db: kvs.DB, bad: object) -> None:
    def items() -> object:
        if not isinstance(bad, list):
            return bad
        return [(b"good", b"1"), *bad]

    with pytest.raises(TypeError):
        db.put_many(items())  # type: ignore[arg-type]
    assert len(db) == 0


def test_put_many_hands_on_what_the_iterable_raises(db: kvs.DB) -> None:
    def items() -> object:
        yield b"a", b"1"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        db.put_many(items())  # type: ignore[arg-type]
    assert len(db) == 0


def test_update_has_the_arguments_and_errors_of_dict_update(db: kvs.DB) -> None:
    db.update()
    db.update(())
    assert db == {}
    with pytest.raises(ValueError, match="length 3"):
        db.update([(b"a", b"b", b"c")])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="keyword"):
        db.update({b"a": b"1"}, b=b"2")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        db.update([5])  # type: ignore[list-item]
    assert db == {}


def test_property(db: kvs.DB) -> None:
    db.update({b"a": b"1", b"b": b"2"})
    assert db.property("writes") == 2
    for name, value in db.stats().items():
        assert type(db.property(name)) is type(value)
    with pytest.raises(kvs.InvalidArgument, match="no property .colour.; known are writes, commits"):
        db.property("colour")


def test_approximate_len(db: kvs.DB) -> None:
    assert db.approximate_len == 0
    db.put_many((b"%05d" % n, b"") for n in range(5000))
    assert db.approximate_len == 5000
    db.put_many((b"%05d" % n, b"again") for n in range(5000))
    assert db.approximate_len == 5000


def test_len_and_bool(db: kvs.DB) -> None:
    assert not db
    assert len(db) == 0
    db.put_many((b"%06d" % n, b"") for n in range(40_000))
    assert db
    assert len(db) == 40_000
    db.clear()
    assert not db
    assert len(db) == 0


def test_equality_is_that_of_dicts(db: kvs.DB) -> None:
    assert db == {}
    db[b"a"] = b"1"
    assert db == {b"a": b"1"}
    assert {b"a": b"1"} == db
    assert db != {b"a": b"2"}
    assert db != {b"a": b"1", b"b": b"2"}
    assert db != {}
    assert db != {b"b": b"1"}
    assert db != {b"a": None}
    assert db == db
    assert not (db != db)
    with kvs.open(in_memory=True) as other:
        assert db != other
        other[b"a"] = b"1"
        assert db == other
        assert db.snapshot() == other
        assert db.snapshot() == {b"a": b"1"}
        assert db.snapshot() != {}
    assert db != 5
    assert db != [b"a"]
    assert db is not None
    assert db != "db"
    with pytest.raises(TypeError, match="unhashable"):
        hash(db)
    with pytest.raises(TypeError):
        db < db  # type: ignore[operator]


def test_iteration_is_in_key_order(db: kvs.DB) -> None:
    keys = [b"", b"\x00", b"a", b"a\x00", b"ab", b"b", b"\xff", b"\xff\xff"]
    for key in reversed(keys):
        db[key] = key
    assert list(db) == keys
    assert list(reversed(db)) == keys[::-1]
    with db.snapshot() as snapshot:
        assert list(snapshot) == keys
        assert list(reversed(snapshot)) == keys[::-1]


def test_persistence(path: Path) -> None:
    with kvs.open(path) as db:
        db[b"k"] = b"v"
    with kvs.open(path, create=False) as db:
        assert dict(db) == {b"k": b"v"}
    with kvs.open(path, read_only=True) as db:
        assert db[b"k"] == b"v"
        with pytest.raises(kvs.ReadOnlyError):
            db[b"k"] = b"w"
        with pytest.raises(kvs.ReadOnlyError), db.batch() as batch:
            batch.delete(b"k")


def test_sync_arguments(db: kvs.DB) -> None:
    for sync in None, True, False:
        db.put(b"k", b"v", sync=sync)
        db.delete(b"k", sync=sync)
        db.put_many({b"k": b"v"}, sync=sync)
        with db.batch(sync=sync) as batch:
            batch[b"k"] = b"w"
        with db.batch(sync) as batch:
            batch[b"k"] = b"x"
    assert db[b"k"] == b"x"
    with pytest.raises(TypeError):
        db.put(b"k", b"v", True)  # type: ignore[call-arg]


def test_flush_stats_verify(db: kvs.DB) -> None:
    db[b"k"] = b"v"
    db.flush()
    stats = db.stats()
    assert isinstance(stats, dict) and stats
    assert all(isinstance(name, str) for name in stats)
    verified = db.verify()
    assert set(verified) == {"files", "records", "bytes"}
    assert all(isinstance(number, int) for number in verified.values())


def test_repr(path: Path) -> None:
    db = kvs.open(path)
    assert repr(db) == f"<kvs.DB {str(path)!r}, open, 0 B>"
    snapshot = db.snapshot()
    assert repr(snapshot) == f"<kvs.Snapshot of {db!r}, open>"
    assert repr(db.values()) == f"<kvs.View, values of {db!r}>"
    assert repr(snapshot.keys()) == f"<kvs.View, keys of {snapshot!r}>"
    snapshot.close()
    assert repr(snapshot) == f"<kvs.Snapshot of {db!r}, closed>"
    db.close()
    assert repr(db) == f"<kvs.DB {str(path)!r}, closed>"
    with kvs.open(in_memory=True) as db:
        assert repr(db) == "<kvs.DB in memory, open, 0 B>"


@pytest.mark.parametrize("size", [500, 5000, 50_000, 5_000_000])
def test_repr_says_how_large(db: kvs.DB, size: int) -> None:
    """Records, and what the log adds to them: a few bytes for each, not a tenth of these."""
    db[b"k"] = bytes(size)
    match = re.search(r"open, ([0-9.]+) (B|KiB|MiB)>$", repr(db))
    assert match, repr(db)
    said = float(match[1]) * {"B": 1, "KiB": 1024, "MiB": 1 << 20}[match[2]]
    assert size <= said * 1.01 and said < size * 1.1 + 100


def test_no_copies(db: kvs.DB) -> None:
    for thing in db, db.snapshot(), db.batch(), db.items(), iter(db):
        for way in pickle.dumps, copy.copy, copy.deepcopy:
            with pytest.raises(TypeError, match="cannot"):
                way(thing)
    with pytest.raises(TypeError, match="send its path"):
        pickle.dumps(db)


def test_weak_references(db: kvs.DB) -> None:
    assert weakref.ref(db)() is db
    snapshot = db.snapshot()
    assert weakref.ref(snapshot)() is snapshot


def test_classes_are_not_made_by_hand() -> None:
    for class_ in kvs.DB, kvs.Snapshot, kvs.Batch, kvs.View, kvs.ViewIterator:
        with pytest.raises(TypeError):
            class_()
        with pytest.raises(TypeError):
            type("Sub", (class_,), {})


def test_big_values(db: kvs.DB) -> None:
    big = bytes(range(256)) * (16 << 12)
    assert len(big) == 16 << 20
    db[b"big"] = big
    assert db[b"big"] == big
    assert db.get_many([b"big", b"x"]) == [big, None]
    assert list(db.items()) == [(b"big", big)]
    assert db.pop(b"big") == big
    with db.batch() as batch:
        batch[b"big"] = memoryview(big)
    assert db.snapshot()[b"big"] == big


def test_references_are_not_leaked(db: kvs.DB) -> None:
    import sys

    key, value = b"a key of its own", b"a value of its own"
    default = object()
    before = [sys.getrefcount(thing) for thing in (key, value, default)]
    for _ in range(100):
        db[key] = value
        db.get(key, default), db.get(b"x", default), db.pop(key, default), db.pop(key, default)
        db.setdefault(key, value)
        db.get_many([key, b"x"], default)
        list(db.items(key, start=key, stop=value))
        with pytest.raises(KeyError):
            db[key + b"x"]
    assert [sys.getrefcount(thing) for thing in (key, value, default)] == before
