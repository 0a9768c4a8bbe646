"""Opening and closing: paths, options, and what a closed store says."""

import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import kvs
from kvs import _kvs


class Where:
    def __init__(self, path: str | bytes) -> None:
        self.path = path

    def __fspath__(self) -> str | bytes:
        return self.path


def test_paths_of_every_kind(tmp_path: Path) -> None:
    text = str(tmp_path / "store")
    for path, seen in (
        (text, text),
        (Path(text), text),
        (Where(text), text),
        (os.fsencode(text), os.fsencode(text)),
        (Where(os.fsencode(text)), os.fsencode(text)),
    ):
        with kvs.open(path) as db:  # type: ignore[arg-type]
            db[b"k"] = b"v"
            assert db.path == seen
    with kvs.open(text, create=False) as db:
        assert len(db) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere file names are text")
def test_paths_that_are_not_utf8(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/caf\xe9 \xff"
    with kvs.open(raw) as db:
        db[b"k"] = b"v"
        assert db.path == raw
    assert os.path.isdir(raw)
    with kvs.open(os.fsdecode(raw), create=False) as db:
        assert db[b"k"] == b"v"
        assert db.path == os.fsdecode(raw)
    with pytest.raises(kvs.Error) as caught:
        kvs.open(raw + b"/no/such", create=True)
    assert os.fsencode(caught.value.path or "").startswith(raw)


def test_unicode_paths(tmp_path: Path) -> None:
    path = tmp_path / "données 数据"
    with kvs.open(path) as db:
        assert db.path == str(path)
    assert path.is_dir()


@pytest.mark.parametrize("path", [5, None, 1.5, [], object()])
def test_what_is_no_path(path: object) -> None:
    with pytest.raises(TypeError):
        kvs.open(path)  # type: ignore[call-overload]


def test_null_byte() -> None:
    for path in "a\0b", b"a\0b":
        with pytest.raises(ValueError, match="null byte"):
            kvs.open(path)


def test_in_memory() -> None:
    for db in kvs.open(None, in_memory=True), kvs.open(in_memory=True):
        with db:
            assert db.path is None
            db[b"k"] = b"v"
    with pytest.raises(kvs.InvalidArgument):
        kvs.open("somewhere", in_memory=True)


def test_create_false(path: Path) -> None:
    with pytest.raises(kvs.NotADatabaseError) as caught:
        kvs.open(path, create=False)
    assert caught.value.path == str(path)
    assert not path.exists()
    with pytest.raises(kvs.Error):
        kvs.open(path, read_only=True)
    assert not path.exists()


def test_options(path: Path) -> None:
    with kvs.open(
        path, durability="sync", segment_bytes_min=1 << 16, memtable_bytes_max="64m", log_backend="positioned"
    ) as db:
        db[b"k"] = b"v"
    for durability in "none", "process", "sync":
        with kvs.open(path, durability=durability) as db:
            assert db[b"k"] == b"v"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"durability": "sometimes"}, "durability"),
        ({"colour": "red"}, "colour"),
        ({"memtable_bytes_max": "lots"}, "memtable_bytes_max"),
        ({"memtable_bytes_max": -1}, "memtable_bytes_max"),
        ({"memtable_bytes_max": True}, "memtable_bytes_max"),
        ({"memtable_bytes_max": 1 << 70}, "memtable_bytes_max"),
    ],
)
def test_bad_options(path: Path, options: dict[str, str], says: str) -> None:
    with pytest.raises(kvs.InvalidArgument, match=says):
        kvs.open(path, **options)  # type: ignore[call-overload]
    assert not path.exists()


def test_every_option_of_the_engine_is_a_keyword() -> None:
    """The engine's list, the signature and the docstring say the same, defaults included."""
    parameters = inspect.signature(kvs.open).parameters
    text = inspect.getdoc(kvs.open) or ""
    options = _kvs._options()
    assert len(options) >= 14
    for name, default, _ in options:
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY, name
        line = next(line for line in text.splitlines() if line.startswith(f"{name}:"))
        if name in ("create", "read_only"):
            assert str(parameters[name].default).lower() == default
        elif name == "durability":
            assert parameters[name].default == default
        else:
            assert parameters[name].default is None, name
            if default.isdigit():
                number, unit = re.findall(r"\((\d+)([kmg]?)\)\.$", line)[0]
                assert int(number) << {"": 0, "k": 10, "m": 20, "g": 30}[unit] == int(default), line
    own = {"path", "in_memory", "codec", "key_codec"}
    assert set(parameters) == own | {name for name, _, _ in options}


def test_none_is_the_engines_default(path: Path) -> None:
    with kvs.open(path, table_io=None, cache_bytes=None, runs_max=None) as db:
        db[b"k"] = b"v"
    with pytest.raises(kvs.InvalidArgument, match="known are"):
        kvs.open(path, colour=None)  # type: ignore[call-overload]


def test_options_reach_the_engine(path: Path) -> None:
    """Each, with a value out of its bounds, is refused by name; so each is passed on."""
    bad: dict[str, object] = {
        "log_backend": "tape",
        "segment_bytes_min": 1,
        "segment_bytes_max": 1,
        "memtable_bytes_max": 1,
        "table_bytes_max": 1,
        "block_bytes": 1,
        "table_io": "tape",
        "cache_bytes": "much",
        "memory_bytes_max": "much",
        "space_percent": 1,
        "runs_max": 0,
        "durability": "tape",
    }
    assert set(bad) == {name for name, _, _ in _kvs._options()} - {"create", "read_only"}
    for name, value in bad.items():
        with pytest.raises(kvs.InvalidArgument, match=name):
            kvs.open(path, **{name: value})  # type: ignore[call-overload]
    assert not path.exists()


def test_options_of_the_wrong_type(path: Path) -> None:
    with pytest.raises(TypeError, match="memtable_bytes_max"):
        kvs.open(path, memtable_bytes_max=1.5)  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        kvs.open(path, True)  # type: ignore[call-overload]


CALLS: dict[str, Callable[[kvs.DB], object]] = {
    "get": lambda db: db.get(b"k"),
    "getitem": lambda db: db[b"k"],
    "setitem": lambda db: db.__setitem__(b"k", b"v"),
    "delitem": lambda db: db.__delitem__(b"k"),
    "contains": lambda db: b"k" in db,
    "len": len,
    "bool": bool,
    "iter": iter,
    "reversed": reversed,
    "eq": lambda db: db == {},
    "get_view": lambda db: db.get_view(b"k"),
    "property": lambda db: db.property("writes"),
    "approximate_len": lambda db: db.approximate_len,
    "put": lambda db: db.put(b"k", b"v"),
    "delete": lambda db: db.delete(b"k"),
    "delete_range": lambda db: db.delete_range(b"k"),
    "pop": lambda db: db.pop(b"k", None),
    "popitem": lambda db: db.popitem(),
    "setdefault": lambda db: db.setdefault(b"k", b"v"),
    "get_many": lambda db: db.get_many([b"k"]),
    "put_many": lambda db: db.put_many({b"k": b"v"}),
    "update": lambda db: db.update({b"k": b"v"}),
    "clear": lambda db: db.clear(),
    "items": lambda db: list(db.items()),
    "keys": lambda db: list(db.keys()),
    "values": lambda db: list(db.values()),
    "view in": lambda db: b"k" in db.keys(),
    "view len": lambda db: len(db.keys()),
    "view bool": lambda db: bool(db.keys()),
    "batch": lambda db: db.batch(),
    "snapshot": lambda db: db.snapshot(),
    "sync": lambda db: db.sync(),
    "flush": lambda db: db.flush(),
    "compact": lambda db: db.compact(),
    "stats": lambda db: db.stats(),
    "verify": lambda db: db.verify(),
    "interrupt": lambda db: db.interrupt(),
    "enter": lambda db: db.__enter__(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_closed(db: kvs.DB, call: Callable[[kvs.DB], object]) -> None:
    db[b"k"] = b"v"
    assert not db.closed
    db.close()
    assert db.closed
    with pytest.raises(kvs.ClosedError):
        call(db)
    db.close()
    assert db.closed


def test_the_list_above_is_complete() -> None:
    public = {name for name in dir(kvs.DB) if not name.startswith("_")}
    assert public - set(CALLS) == {"close", "closed", "path"}


def test_with_closes_whatever_happens(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), kvs.open(path) as db:
        db[b"k"] = b"v"
        1 / 0
    assert db.closed
    with kvs.open(path) as again:
        assert again[b"k"] == b"v"
    with pytest.raises(kvs.ClosedError), again:
        pass


def test_a_view_outlives_the_variable() -> None:
    """The view holds the store: nothing closes it under the iteration."""

    def items() -> kvs.View[tuple[bytes, bytes]]:
        db = kvs.open(in_memory=True)
        db[b"k"] = b"v"
        return db.items()

    assert list(items()) == [(b"k", b"v")]


def test_iterators_end_with_the_store(db: kvs.DB) -> None:
    db.put_many((b"%05d" % n, b"") for n in range(10_000))
    iterator = iter(db)
    first = next(iterator)
    assert first == b"00000"
    db.close()
    handed_out = [first]
    with pytest.raises(kvs.ClosedError):
        handed_out.extend(iterator)
    with pytest.raises(kvs.ClosedError):
        next(iterator)
    assert handed_out == [b"%05d" % n for n in range(len(handed_out))], "what was read before the close comes out whole"


def test_the_garbage_collector_closes(path: Path) -> None:
    db = kvs.open(path)
    db[b"k"] = b"v"
    del db
    with kvs.open(path) as again:
        assert again[b"k"] == b"v"


def test_one_at_a_time(path: Path, run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    second = "import sys, kvs\ntry: kvs.open(sys.argv[1])\nexcept kvs.LockedError as e: assert e.path, e\nelse: sys.exit('opened')"
    with kvs.open(path) as db:
        with pytest.raises(kvs.LockedError) as caught:
            kvs.open(path)
        assert isinstance(caught.value, OSError)
        assert str(path) in str(caught.value)
        result = run(second, path)
        assert result.returncode == 0, result.stderr
        db[b"k"] = b"v"
    with kvs.open(path) as db:
        assert db[b"k"] == b"v"


def test_a_file_is_no_store(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"not a directory")
    with pytest.raises(kvs.Error) as caught:
        kvs.open(path)
    assert caught.value.path == str(path)
    assert path.read_bytes() == b"not a directory"
    assert os.listdir(tmp_path) == ["file"]
