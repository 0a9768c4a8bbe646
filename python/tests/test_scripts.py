"""Every script of tests/scripts, played over the package: what kvs does is the same in every language."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kvs

SCRIPTS = Path(__file__).resolve().parents[2] / "tests" / "scripts"
_spec = importlib.util.spec_from_file_location("replay", SCRIPTS / "replay.py")
assert _spec and _spec.loader
replay = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(replay)

# As the C interface names them.
STATUSES: dict[type[Exception], str] = {
    kvs.ClosedError: "KVS_E_CLOSED",
    kvs.ConflictError: "KVS_CONFLICT",
    kvs.CorruptionError: "KVS_E_CORRUPTION",
    kvs.ForkedError: "KVS_E_FORKED",
    kvs.InternalError: "KVS_E_PANIC",
    kvs.InvalidArgument: "KVS_E_INVALID",
    kvs.IoError: "KVS_E_IO",
    kvs.LockedError: "KVS_E_LOCKED",
    kvs.NewerFormatError: "KVS_E_VERSION",
    kvs.NoSpaceError: "KVS_E_NO_SPACE",
    kvs.NotADatabaseError: "KVS_E_NOT_A_DATABASE",
    kvs.PoisonedError: "KVS_E_POISONED",
    kvs.ReadOnlyError: "KVS_E_READ_ONLY",
    kvs.TooLargeError: "KVS_E_TOO_LARGE",
    kvs.WouldBlockError: "KVS_E_WOULD_BLOCK",
}
# Keywords whose values are numbers in Python.
NUMBERS = ("space_percent", "runs_max")
LAST_KEY = b"\xff" * 65536

Entry = tuple[bytes, bytes]


class Cursor:
    """A cursor that goes both ways, of two iterators that go one way each and see the same.

    It never lets an iterator come to its end, where that would let go of the store: it seeks, and asks for what was found.
    """

    def __init__(self, of: kvs.Snapshot, range_: Any) -> None:
        items = of.items(range_.prefix, start=range_.start, stop=range_.stop)
        self.up, self.down = iter(items), reversed(items)
        # Where it stands; outside, None and on which side. New, it is on both.
        self.entry: Entry | None = None
        self.is_before = self.is_behind = True

    def stand(self, entry: Entry | None, forwards: bool) -> Entry | None:
        self.entry = entry
        self.is_before, self.is_behind = entry is None and not forwards, entry is None and forwards
        return entry

    def seek(self, key: bytes) -> Entry | None:
        return self.stand(next(self.up) if self.up.seek(key) else None, True)

    def seek_for_prev(self, key: bytes) -> Entry | None:
        return self.stand(next(self.down) if self.down.seek(key) else None, False)

    def first(self) -> Entry | None:
        return self.seek(b"")

    def last(self) -> Entry | None:
        return self.seek_for_prev(LAST_KEY)

    def next(self) -> Entry | None:
        if self.entry is None:
            return self.first() if self.is_before else self.stand(None, True)
        return self.seek(self.entry[0] + b"\0")

    def prev(self) -> Entry | None:
        if self.entry is None:
            return self.last() if self.is_behind else self.stand(None, False)
        key = self.entry[0]
        # The entry before is the one behind this one, backwards; without one, the iterator would be at its end.
        if self.up.seek(b"") and next(self.up)[0] == key:
            return self.stand(None, False)
        assert self.down.seek(key) and next(self.down)[0] == key
        return self.stand(next(self.down), False)


class Store:
    """The operations of scripts, as the package has them."""

    def __init__(self, db: kvs.DB) -> None:
        self.db = db
        self.flush, self.sync, self.compact, self.snapshot, self.close = db.flush, db.sync, db.compact, db.snapshot, db.close
        self.verify = db.verify

    @staticmethod
    def status_of(error: Exception) -> str:
        if type(error) not in STATUSES:
            raise error
        assert str(error)
        return STATUSES[type(error)]

    @classmethod
    def open(cls, path: Path | None, options: dict[str, str]) -> "Store":
        typed: dict[str, Any] = dict(options)
        for name, value in options.items():
            if value in ("true", "false"):
                typed[name] = value == "true"
            elif name in NUMBERS and value.isdigit():
                typed[name] = int(value)
        try:
            return cls(kvs.open(path, in_memory=path is None, **typed))
        except TypeError as error:
            # What Python says of a keyword that there is none of.
            raise kvs.InvalidArgument(str(error)) from error

    @staticmethod
    def repair(path: Path, new: Path) -> None:
        kvs.repair(path, new)

    def put(self, key: bytes, value: bytes, sync: bool) -> None:
        self.db.put(key, value, sync=sync or None)

    def delete(self, key: bytes, sync: bool) -> None:
        self.db.delete(key, sync=sync or None)

    def delete_range(self, start: bytes | None, stop: bytes | None, sync: bool) -> None:
        self.db.delete_range(start, stop, sync=sync or None)

    def write(self, writes: list[tuple[Any, ...]], sync: bool) -> None:
        with self.db.batch(sync=sync or None) as batch:
            by_name: dict[str, Callable[..., None]] = {"put": batch.put, "delete": batch.delete, "delete-range": batch.delete_range}
            for kind, *arguments in writes:
                by_name[kind](*arguments)

    def get(self, snapshot: Any, key: bytes) -> bytes | None:
        of = self.db if snapshot is None else snapshot
        value: bytes | None = of.get(key)
        if value is not None:
            assert of[key] == value and of.get_view(key) == value
        return value

    def contains(self, snapshot: Any, key: bytes) -> bool:
        return key in (self.db if snapshot is None else snapshot)

    def get_many(self, snapshot: Any, keys: list[bytes]) -> list[bytes | None]:
        values: list[bytes | None] = (self.db if snapshot is None else snapshot).get_many(keys)
        return values

    def scan(self, snapshot: Any, range_: Any, reverse: bool, limit: int | None) -> list[Entry]:
        of = self.db if snapshot is None else snapshot
        return list(of.items(range_.prefix, start=range_.start, stop=range_.stop, reverse=reverse, limit=limit))

    def release(self, snapshot: kvs.Snapshot) -> None:
        snapshot.close()

    def cursor(self, snapshot: kvs.Snapshot | None, range_: Any) -> Cursor:
        if snapshot is not None:
            return Cursor(snapshot, range_)
        with self.db.snapshot() as now:
            return Cursor(now, range_)

    def move(self, cursor: Cursor, move: str, key: bytes | None) -> Entry | None:
        if move == "item":
            return cursor.entry
        moved: Entry | None = getattr(cursor, move.replace("-", "_"))(*() if key is None else (key,))
        return moved

    def drop(self, cursor: Cursor) -> None:
        del cursor.up, cursor.down

    def stat(self, name: str) -> int:
        number: int = self.db.stats()[name]
        return number


@pytest.mark.parametrize("script", replay.scripts(), ids=lambda script: script.stem)
def test_script(script: Path, tmp_path: Path) -> None:
    replay.replay(script, Store, tmp_path)


def test_there_are_enough() -> None:
    assert len(replay.scripts()) >= 200


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('put "k" "v"\nget "k" -> "w"\n', replay.Mismatch),
        ('put "k" "v" -> KVS_E_CLOSED\n', replay.Mismatch),
        ('scan -> "a"="1"\n', replay.Mismatch),
        ("frobnicate -> KVS_OK\n", replay.BadScript),
        ('put "k" "v" quickly -> KVS_OK\n', replay.BadScript),
        ('put "k" "v"\n', replay.BadScript),
        ('put "k" "v"\nget "k"\nflush -> KVS_OK\n', replay.BadScript),
    ],
)
def test_a_bad_script_fails(text: str, error: type[Exception], tmp_path: Path) -> None:
    """A wrong expectation, an unknown operation or word, and a script that expects nothing."""
    script = tmp_path / "script.txt"
    script.write_text("# A bad one.\nopen db\n" + text)
    with pytest.raises(error):
        replay.replay(script, Store, tmp_path)
