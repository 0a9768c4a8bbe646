"""dbm_open: flags, types and errors as the dbm modules have them, and use under shelve."""

import dbm
import os
import pickle
import shelve
from collections.abc import Callable, MutableMapping
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

import kvs


def test_flags(path: Path) -> None:
    for flag in "r", "w":
        with pytest.raises(OSError):
            kvs.dbm_open(path, flag)
        assert not path.exists()
    with pytest.raises(OSError):
        kvs.dbm_open(path)
    with kvs.dbm_open(path, "c") as store:
        store["k"] = "v"
    with kvs.dbm_open(path, "w") as store:
        store["l"] = "w"
    with kvs.dbm_open(path, "c") as store:
        assert dict(store) == {b"k": b"v", b"l": b"w"}
    with kvs.dbm_open(path) as store, kvs.dbm_open(path, "r") as beside:
        assert dict(store) == dict(beside) == {b"k": b"v", b"l": b"w"}
    with kvs.dbm_open(path, "n") as store:
        assert dict(store) == {}
        store["m"] = "x"
    with kvs.dbm_open(path) as store:
        assert dict(store) == {b"m": b"x"}
    for flag in "", "x", "rw", "cn", "rf":
        with pytest.raises(ValueError, match="must be one of"):
            kvs.dbm_open(path, flag)


def test_n_leaves_others_alone(path: Path) -> None:
    with kvs.open(path) as db:
        db[b"k"] = b"v"
        with pytest.raises(kvs.LockedError):
            kvs.dbm_open(path, "n")
        assert db[b"k"] == b"v"
    (path.parent / "directory").mkdir()
    (path.parent / "directory" / "file").write_text("mine")
    try:
        kvs.dbm_open(path.parent / "directory", "n").close()
    except OSError:
        pass
    assert (path.parent / "directory" / "file").read_text() == "mine"


def test_n_gives_space_back(path: Path) -> None:
    with kvs.dbm_open(path, "c") as store:
        for n in range(100):
            store[str(n)] = os.urandom(10_000)
        store.raw.flush()
    with kvs.dbm_open(path, "n") as store:
        assert store.raw.stats()["table_bytes"] < 100_000


def test_mode_and_options(path: Path) -> None:
    with kvs.dbm_open(path, "c", 0o600, durability="sync", memtable_bytes_max="64m") as store:
        store["k"] = "v"
        assert store.raw.stats()["syncs"] >= 1
    with pytest.raises(kvs.InvalidArgument, match="colour"):
        kvs.dbm_open(path, "c", colour="red")
    with pytest.raises(kvs.InvalidArgument, match="codecs"):
        kvs.dbm_open(path, "c", codec="json")


def test_str_and_bytes_are_the_same_key(path: Path) -> None:
    with kvs.dbm_open(path, "c") as store:
        assert isinstance(store, MutableMapping)
        store["caf\u00e9"] = "\u2615"
        key = "caf\u00e9".encode()
        assert store[key] == store["caf\u00e9"] == store[bytearray(key)] == "\u2615".encode()
        assert key in store and store.__contains__("caf\u00e9") and not store.__contains__("tea")
        assert store.keys() == [key] == list(store)
        assert store.get("tea") is None and store.get("tea", 5) == 5
        assert store.setdefault("tea") == b"" and store.setdefault("tea", "x") == b""
        assert store.pop("tea") == b""
        assert store.pop("tea", None) is None
        with pytest.raises(KeyError):
            store.pop("tea")
        assert len(store) == 1 and store
        del store["caf\u00e9"]
        assert not store
        with pytest.raises(KeyError) as caught:
            store["tea"]
        assert caught.value.args == ("tea",)
        with pytest.raises(KeyError) as caught:
            del store["tea"]
        assert caught.value.args == ("tea",)
        for key_, value in ((5, "v"), ("k", 5), (None, "v"), ("k", None)):
            with pytest.raises(TypeError, match="must be bytes or strings"):
                store[key_] = value  # type: ignore[index, assignment]
        store.update({"a": "1"}, b="2")
        store.reorganize()
        store.sync()
        assert sorted(store.items()) == [(b"a", b"1"), (b"b", b"2")]
        store.clear()
        assert len(store) == 0


CALLS: dict[str, Callable[[kvs.Dbm], object]] = {
    "get": lambda store: store.get("k"),
    "[]": lambda store: store["k"],
    "in": lambda store: store.__contains__("k"),
    "len": len,
    "iter": list,
    "keys": lambda store: store.keys(),
    "bool": bool,
    "with": lambda store: store.__enter__(),
    "set": lambda store: store.__setitem__("k", "v"),
    "del": lambda store: store.__delitem__("k"),
    "setdefault": lambda store: store.setdefault("k", "v"),
    "clear": lambda store: store.clear(),
    "sync": lambda store: store.sync(),
    "reorganize": lambda store: store.reorganize(),
    "pop": lambda store: store.pop("k"),
}
WRITES = {"set", "del", "setdefault", "clear", "reorganize", "pop"}


@pytest.mark.parametrize("name", CALLS)
def test_closed(path: Path, name: str) -> None:
    """`except dbm.error` has to catch it, and so has `except kvs.Error`."""
    store = kvs.dbm_open(path, "c")
    store["k"] = "v"
    store.close()
    store.close()
    with pytest.raises(dbm.error) as caught:
        CALLS[name](store)
    assert isinstance(caught.value, kvs.ClosedError) and isinstance(caught.value, OSError)
    assert str(caught.value) == "DBM object has already been closed"


@pytest.mark.parametrize("name", sorted(WRITES))
def test_read_only(path: Path, name: str) -> None:
    kvs.dbm_open(path, "c").close()
    with kvs.dbm_open(path, "c") as store:
        store["k"] = "v"
    with kvs.dbm_open(path, "r") as store:
        with pytest.raises(dbm.error) as caught:
            CALLS[name](store)
        assert isinstance(caught.value, kvs.ReadOnlyError)
        assert dict(store) == {b"k": b"v"}
        store.sync()


def test_close_makes_durable(path: Path) -> None:
    store = kvs.dbm_open(path, "c")
    store["k"] = "v"
    db = store.raw
    before = db.stats()
    assert before["durable_seq"] < before["visible_seq"]
    store.sync()
    assert db.stats()["durable_seq"] == before["visible_seq"]
    store.close()


def test_dbm_is_no_value(path: Path) -> None:
    with kvs.dbm_open(path, "c") as store:
        with pytest.raises(TypeError):
            pickle.dumps(store)
        with pytest.raises(TypeError):
            hash(store)
        assert repr(store) == f"<kvs.Dbm of {store.raw!r}>"


@pytest.mark.parametrize("writeback", [False, True])
def test_shelve(path: Path, writeback: bool) -> None:
    opened: Any = shelve.Shelf(kvs.dbm_open(path, "c"), writeback=writeback)
    with opened as shelf:
        shelf["list"] = [1]
        shelf["list"].append(2)
        shelf["nested"] = {"a": (1, None)}
        shelf.sync()
        assert sorted(shelf) == ["list", "nested"]
        del shelf["nested"]
    opened = shelve.Shelf(kvs.dbm_open(path, "r"))
    with opened as shelf:
        assert dict(shelf) == {"list": [1, 2] if writeback else [1]}
        with pytest.raises(OSError):
            shelf["x"] = 1
    with pytest.raises(ValueError):
        shelf["list"]


def test_a_shelf_that_nobody_closed(run: Callable[..., CompletedProcess[str]], tmp_path: Path) -> None:
    script = "import shelve, kvs\ns = shelve.Shelf(kvs.dbm_open('store', 'c'), writeback=True)\ns['k'] = [1]\ns['k'].append(2)"
    result = run(script)
    assert (result.returncode, result.stderr) == (0, "")
    opened: Any = shelve.Shelf(kvs.dbm_open(tmp_path / "store"))
    with opened as shelf:
        assert shelf["k"] == [1, 2], "written by its finalizer, after the functions of atexit"
