"""A program as a user would type it: test_types.py runs mypy --strict and Python on it."""

import asyncio
import mmap
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any, assert_type

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
        assert_type(list(db.items(zero_copy=True)), list[tuple[bytes, memoryview]])
        assert_type(list(db.values(b"u", zero_copy=True)), list[memoryview])
        db.interrupt()
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


def more(path: Path) -> None:
    path.mkdir(parents=True)
    with kvs.open(path / "typed", codec="json", key_codec="utf-8", table_io="positioned") as documents:
        assert_type(documents, kvs.TypedDB[str, Any])
        documents["a"] = {"b": [1]}
        assert_type(list(documents.keys()), list[str])
        assert_type(documents.raw, kvs.DB)
    with kvs.open(in_memory=True, codec="utf-8", key_codec="utf-8") as texts:
        assert_type(texts, kvs.TypedDB[str, str])
        texts["k"] = "v"
        assert_type(texts.get("k"), str | None)
        assert_type(texts.get("k", 0), str | int)
        assert_type(texts.pop("k"), str)
        assert_type(list(texts.items()), list[tuple[str, str]])
        with texts.snapshot() as snapshot:
            assert_type(snapshot, kvs.TypedSnapshot[str, str])
        with texts.batch() as batch:
            assert_type(batch, kvs.TypedBatch[str, str])
    number: kvs.Codec[int] = kvs.Codec("number", lambda n: n.to_bytes(8, "big"), lambda b: int.from_bytes(b, "big"))
    with kvs.open(in_memory=True) as db:
        numbers: kvs.TypedDB[bytes, int] = kvs.TypedDB(db, number)
        numbers[b"k"] = 5
        assert_type(numbers[b"k"], int)
        with db.get_view(b"k") as view:
            assert_type(view, memoryview)
        iterator = iter(db.items())
        assert_type(iterator.seek(b"k"), bool)
        assert_type(db.property("writes"), int | float)
        assert_type(db.approximate_len, int)
        assert_type(kvs.load(db, {b"a": b"1"}, progress=False), int)
    with kvs.dbm_open(path / "dbm", "c") as store:
        store["k"] = "v"
        assert_type(store["k"], bytes)
    report = kvs.repair(path / "typed", path / "repaired", block_bytes=4096)
    assert_type(report, kvs.Repaired)
    assert_type([part.span for part in report.left_out], list[tuple[int, int]])


async def later(path: Path) -> None:
    async with kvs.aio.open(path / "aio") as db:
        assert_type(db, kvs.aio.DB)
        await db.put(b"k", b"v")
        assert_type(await db.get(b"k"), bytes | None)
        assert_type(await db[b"k"], bytes)
        assert_type([pair async for pair in db.items()], list[tuple[bytes, bytes]])
        assert_type([view async for view in db.values(zero_copy=True)], list[memoryview])
        async with db.snapshot() as snapshot:
            assert_type(snapshot, kvs.aio.Snapshot)
        opened = await db.snapshot()
        assert_type(await opened.count(), int)


def mistakes(db: kvs.DB) -> None:
    """Never called: mypy has to refuse each line (warn_unused_ignores makes an accepted one an error)."""
    db["text"]  # type: ignore[index]
    db[b"k"] = "text"  # type: ignore[assignment]
    db.get("text")  # type: ignore[call-overload]
    db.put(b"k", b"v", True)  # type: ignore[call-arg]
    kvs.open("x", durability="maybe")  # type: ignore[call-overload]
    kvs.open("x", colour="red")  # type: ignore[call-overload]
    kvs.open("x", codec="utf-8", key_codec="utf-8")["k"] = 5  # type: ignore[assignment]
    db.items(limit="3")  # type: ignore[call-overload]
    db.keys(limit="3")  # type: ignore[arg-type]
    db.keys(zero_copy=True)  # type: ignore[call-arg]
    hash(db.closed + db.missing)  # type: ignore[attr-defined]
    kvs.DB.get.missing  # type: ignore[attr-defined]


if __name__ == "__main__":
    import sys

    main(Path(sys.argv[1]))
    more(Path(sys.argv[1]).with_name("more"))
    asyncio.run(later(Path(sys.argv[1]).with_name("more")))
