"""A program as a user would type it: test_types.py runs mypy --strict and Python on it."""

import mmap
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import assert_type

import kvs


def count(mapping: Mapping[bytes, bytes]) -> int:
    return len(mapping)


def fill(mapping: MutableMapping[bytes, bytes]) -> None:
    mapping[b"filled"] = b"yes"


def user_names(db: kvs.DB) -> Iterator[str]:
    for key, value in db.items(b"user:", limit=10):
        assert_type(key, bytes)
        yield value.decode()


def main(path: Path) -> None:
    with kvs.open(path, durability="sync", memtable_bytes_max="64m") as db:
        assert_type(db, kvs.DB)
        db[b"user:1"] = b"Ann"
        db[bytearray(b"user:2")] = memoryview(b"Bob")
        with mmap.mmap(-1, 3) as area:
            db.put(b"mapped", area, sync=False)
        assert_type(db[b"user:1"], bytes)
        assert_type(db.get(b"x"), bytes | None)
        assert_type(db.get(b"x", 0), bytes | int)
        assert_type(db.get_many([b"x"]), list[bytes | None])
        assert_type(db.get_many([b"x"], b""), list[bytes])
        assert_type(db.pop(b"x", None), bytes | None)
        assert_type(db.setdefault(b"x", b"y"), bytes)
        assert_type(list(db), list[bytes])
        assert_type(list(db.items(reverse=True)), list[tuple[bytes, bytes]])
        assert_type(dict(db.items()), dict[bytes, bytes])
        assert_type(db.path, str | bytes | None)
        assert list(user_names(db)) == ["Ann", "Bob"]
        db.put_many({b"a": b"1"})
        db.put_many([(b"b", bytearray(b"2"))])
        db.update(db.snapshot())
        fill(db)
        db.delete_range(b"y", bytearray(b"z"), sync=True)
        db.sync()
        db.flush()
        db.compact(start=b"a")
        with db.batch(sync=True) as batch:
            assert_type(batch, kvs.Batch)
            batch[b"c"] = b"3"
            del batch[b"b"]
            batch.delete_range(memoryview(b"y"), b"z")
        with db.snapshot() as snapshot:
            assert_type(snapshot, kvs.Snapshot)
            assert count(snapshot) == count(db) == 7
            view: kvs.View[bytes] = snapshot.keys(start=b"b")
            assert b"c" in view
        try:
            kvs.open(path)
        except kvs.LockedError as error:
            assert_type(error.errno, int | None)
        except kvs.Error as error:
            assert_type(error.path, str | None)


def mistakes(db: kvs.DB) -> None:
    """Never called: mypy has to refuse each line (warn_unused_ignores makes an accepted one an error)."""
    db["text"]  # type: ignore[index]
    db[b"k"] = "text"  # type: ignore[assignment]
    db.get("text")  # type: ignore[call-overload]
    db.put(b"k", b"v", True)  # type: ignore[call-arg]
    kvs.open("x", durability="maybe")  # type: ignore[arg-type]
    db.items(limit="3")  # type: ignore[arg-type]
    hash(db.closed + db.missing)  # type: ignore[attr-defined]
    kvs.DB.get.missing  # type: ignore[attr-defined]


if __name__ == "__main__":
    import sys

    main(Path(sys.argv[1]))
