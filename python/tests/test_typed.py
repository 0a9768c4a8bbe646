"""TypedDB: keys and values of other types, and bytes that stay the ground truth."""

import copy
import pickle
import re
import subprocess
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import pyarrow  # type: ignore[import-untyped]
import pytest

import kvs

NUMBER: kvs.Codec[int] = kvs.Codec("number", lambda n: n.to_bytes(8, "big"), lambda data: int.from_bytes(data, "big"))

VALUES: dict[str, list[Any]] = {
    "bytes": [b"", b"\xff\x00"],
    "utf-8": ["", "text", "d\u00e9j\u00e0 vu \u6570\u636e \U0001f40d", "\x00"],
    "json": [None, True, 0, -1.5, "text \u00e9", [], {}, {"a": [1, {"b": None}]}, 1 << 80],
    "pickle": [None, (1, 2), {1, 2}, b"bytes", Path("x"), {"a": object}],
    "msgpack": [None, True, 1, "text", b"bytes", [1, [2]], {"a": b"b"}, {1: 2}],
    "arrow": [pyarrow.table({"a": [1, 2, None], "b": ["x", "y", "z"]})],
}


@pytest.mark.parametrize("codec", VALUES)
def test_values_come_back(path: Path, codec: str) -> None:
    with kvs.open(path, codec=codec, key_codec="utf-8") as db:
        for n, value in enumerate(VALUES[codec]):
            db[f"k{n}"] = value
    with kvs.open(path, codec=codec, key_codec="utf-8") as db:
        for n, value in enumerate(VALUES[codec]):
            for found in db[f"k{n}"], db.get(f"k{n}"), db.get_many([f"k{n}"])[0], db.pop(f"k{n}"):
                assert type(found) is type(value)
                assert found == value


def test_what_is_written() -> None:
    with kvs.open(in_memory=True, codec="json", key_codec="utf-8") as db:
        db["\u00e9"] = {"a": [1, "\u00e9"]}
        assert dict(db.raw) == {"\u00e9".encode(): '{"a":[1,"\u00e9"]}'.encode()}
        db.raw[b"by hand"] = b" [1 , 2]"
        assert db["by hand"] == [1, 2]


def test_the_whole_interface() -> None:
    with kvs.open(in_memory=True, codec="json", key_codec=NUMBER) as db:
        assert isinstance(db, MutableMapping)
        assert not db and len(db) == 0
        db[300] = "c"
        db.put(1, ["a"], sync=True)
        db.put_many({2: "b"})
        db.put_many([(4, None), (5, 0)])
        assert list(db) == [1, 2, 4, 5, 300]
        assert list(reversed(db)) == [300, 5, 4, 2, 1]
        assert db.get(4, "default") is None
        assert db.get(77, "default") == "default"
        assert db.get_many([300, 77, 1], 0) == ["c", 0, ["a"]]
        assert 300 in db and 77 not in db
        assert list(db.items(start=2, stop=5)) == [(2, "b"), (4, None)]
        assert list(db.keys(reverse=True, limit=2)) == [300, 5]
        assert list(db.values(start=4)) == [None, 0, "c"]
        assert len(db.items()) == 5 and (2, "b") in db.items() and (2, "x") not in db.items()
        assert "b" in db.values() and 2 in db.keys() and 77 not in db.keys(stop=77)
        assert bool(db.keys()) and not db.keys(start=1000)
        assert list(reversed(db.values())) == ["c", 0, None, "b", ["a"]]
        iterator = iter(db.items())
        assert iterator.seek(3) and next(iterator) == (4, None)
        assert db.setdefault(1, "x") == ["a"]
        assert db.setdefault(6) is None and db[6] is None
        assert db.pop(6) is None
        assert db.pop(6, None) is None and db.pop(6, default=3) == 3
        with pytest.raises(TypeError):
            db.pop(6, 1, 2)  # type: ignore[call-overload]
        for missing in (lambda: db[77], lambda: db.pop(77), lambda: db.__delitem__(77)):
            with pytest.raises(KeyError) as caught:
                missing()
            assert caught.value.args == (77,)
        assert db.popitem() == (1, ["a"])
        del db[2]
        db.delete(77)
        with db.batch() as batch:
            batch[7] = "seven"
            batch.put(8, 8)
            batch.delete(4)
            del batch[5]
            batch.delete_range(8, 9)
            assert len(batch) == 5
        with db.snapshot() as snapshot:
            assert isinstance(snapshot, Mapping) and not isinstance(snapshot, MutableMapping)
            db.clear()
            assert dict(snapshot.items()) == {7: "seven", 300: "c"} == snapshot
            assert list(snapshot.keys(start=8)) == [300]
        assert snapshot.closed
        db.update({1: 1}, )
        db.update([(2, 2)])
        assert db == {1: 1, 2: 2} and db != {1: 1} and db != {1: 1, 2: 3} and db != 5
        db.delete_range(2)
        assert db == {1: 1}
        db.sync()
        db.flush()
        db.compact()
        db.compact(1, 2)
        assert db.verify()["records"] >= 1
        assert db.stats()["writes"] == db.property("writes")
        assert db.approximate_len >= 1
        assert db.path is None and not db.closed
        assert "number" in repr(db) and "json" in repr(db) and repr(db.raw) in repr(db)
        assert "<table>" in db._repr_html_()
        with pytest.raises(TypeError, match="unhashable"):
            hash(db)
        for way in pickle.dumps, copy.copy, copy.deepcopy:
            with pytest.raises(TypeError, match="cannot be pickled or copied"):
                way(db)
    assert db.closed
    with pytest.raises(kvs.ClosedError):
        db[1]


def test_put_many_takes_what_has_keys() -> None:
    """A mapping that is none by its class was read through a generator that named itself."""

    class Keyed:
        def keys(self) -> list[str]:
            return ["a", "b"]

        def __getitem__(self, key: str) -> int:
            return ord(key)

    with kvs.open(in_memory=True, codec="json", key_codec="utf-8") as db:
        db.put_many(Keyed())  # type: ignore[arg-type]
        db.update(Keyed(), c=99)
        assert db == {"a": 97, "b": 98, "c": 99}


def test_batches_are_discarded_on_an_exception() -> None:
    with kvs.open(in_memory=True, codec="json", key_codec="utf-8") as db:
        with pytest.raises(TypeError), db.batch() as batch:
            batch["a"] = 1
            batch["b"] = {1, 2}
        assert db == {}


@pytest.mark.parametrize("pairs", [[("a", 1), ("b", {1})], [("a", 1), (b"b", 1)], [("a", 1), 5], {"a": 1, "b": {1}}])
def test_what_cannot_be_written_writes_nothing(pairs: Any) -> None:
    with kvs.open(in_memory=True, codec="json", key_codec="utf-8") as db:
        with pytest.raises((TypeError, ValueError)):
            db.put_many(pairs)
        assert db == {}


def test_never_silent() -> None:
    """Each side refuses what is not its type, instead of guessing."""
    with kvs.open(in_memory=True, codec="utf-8", key_codec="utf-8") as db:
        for call in (
            lambda: db.put(b"k", "v"),  # type: ignore[arg-type]
            lambda: db.put("k", b"v"),  # type: ignore[arg-type]
            lambda: db.put("k", 5),  # type: ignore[arg-type]
            lambda: db.get(b"k"),  # type: ignore[call-overload]
            lambda: list(db.items(prefix=b"k")),  # type: ignore[arg-type]
            lambda: db.__contains__(5),
        ):
            with pytest.raises(TypeError, match="utf-8 takes str"):
                call()
        assert len(db) == 0
    with kvs.open(in_memory=True, codec="json") as typed:
        with pytest.raises(TypeError, match="encode"):
            typed["text"] = 1
    with kvs.open(in_memory=True, key_codec="utf-8") as typed:
        with pytest.raises(TypeError, match="encode"):
            typed["k"] = "text"


def test_bytes_that_the_codec_cannot_read() -> None:
    """The error is the codec's, and names the key. What pop took out goes back."""
    with kvs.open(in_memory=True, codec="json", key_codec="utf-8") as db:
        db.raw[b"bad"] = b"{"
        for call in (
            lambda: db["bad"],
            lambda: db.get("bad"),
            lambda: db.get_many(["bad"]),
            lambda: list(db.items()),
            lambda: list(db.values()),
            lambda: db.pop("bad"),
            lambda: db.popitem(),
            lambda: db.setdefault("bad", 1),
        ):
            with pytest.raises(ValueError) as caught:
                call()
            assert re.search("codec json cannot read the value of the key b?'bad'", caught.value.__notes__[0])
            assert db.raw[b"bad"] == b"{"
        assert list(db.keys()) == ["bad"]
        db.raw[b"\xff"] = b"1"
        with pytest.raises(UnicodeDecodeError) as decoding:
            list(db)
        assert decoding.value.__notes__ == [r"kvs: codec utf-8 cannot read the key b'\xff'"]


def test_names_that_are_no_codecs(path: Path) -> None:
    for arguments, says in (
        ({"codec": "xml"}, "codec is 'xml', must be one of bytes, utf-8, json, pickle, msgpack, arrow"),
        ({"key_codec": "json"}, "key_codec is 'json', must be one of bytes, utf-8"),
        ({"key_codec": "pickle"}, "key_codec is 'pickle', must be one of bytes, utf-8"),
    ):
        with pytest.raises(kvs.InvalidArgument, match=re.escape(says)):
            kvs.open(path, **arguments)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="codec is of type int"):
        kvs.open(path, codec=5)  # type: ignore[call-overload]
    assert not path.exists(), "a store was made although it could not be used"


@pytest.mark.parametrize("codec", ["msgpack", "arrow"])
def test_packages_that_are_missing(run: Callable[..., subprocess.CompletedProcess[str]], codec: str) -> None:
    script = """
import sys
sys.modules["msgpack"] = sys.modules["pyarrow"] = None
import os, kvs
try: kvs.open("store", codec=sys.argv[1])
except ImportError as error: print(error)
assert not os.path.exists("store")
"""
    result = run(script, codec)
    assert result.returncode == 0, result.stderr
    assert f"codec '{codec}' needs a package that is not installed" in result.stdout


def test_codecs_cost_nothing_until_they_are_used(run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    script = "import sys, kvs; sys.exit(str([m for m in ('json', 'pickle', 'msgpack', 'pyarrow', 'asyncio', 'tqdm') if m in sys.modules] or ''))"
    result = run(script)
    assert result.stderr.strip() == ""


def test_over_an_open_store(db: kvs.DB) -> None:
    texts: kvs.TypedDB[str, str] = kvs.TypedDB(db, "utf-8", "utf-8")
    numbers: kvs.TypedDB[int, bytes] = kvs.TypedDB(db, key_codec=NUMBER)
    texts["12345678"] = "text"
    assert list(numbers) == [int.from_bytes(b"12345678", "big")]
    assert texts.raw is db
    with pytest.raises(TypeError, match="expected a kvs.DB"):
        kvs.TypedDB({})  # type: ignore[arg-type]


def test_arrow_takes_tables_only() -> None:
    with kvs.open(in_memory=True, codec="arrow") as db:
        with pytest.raises(TypeError, match="arrow takes"):
            db[b"k"] = [1]


def test_reads_share_the_gil_rules(path: Path) -> None:
    """A codec runs outside of the engine: it may use the store itself."""
    db: Any = None
    nested: kvs.Codec[bytes] = kvs.Codec("nested", lambda data: data + bytes([len(db.raw)]), lambda data: data[:-1])
    db = kvs.open(path, codec=nested)
    with db:
        db[b"a"], db[b"b"] = b"1", b"2"
        db.put_many((b"%d" % n, b"x") for n in range(10))
        assert db.raw[b"b"] == b"2\x01"
        assert db[b"b"] == b"2"
