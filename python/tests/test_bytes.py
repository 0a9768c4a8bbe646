"""Keys and values: any bytes-like object in, bytes out; never text."""

import array
import mmap
from collections.abc import Callable

import numpy
import pytest

import kvs


class Sub(bytes):
    pass


def mapped(data: bytes) -> mmap.mmap:
    area = mmap.mmap(-1, len(data))
    area.write(data)
    return area


KINDS: dict[str, Callable[[bytes], object]] = {
    "bytes": bytes,
    "subclass": Sub,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "writable view": lambda data: memoryview(bytearray(data)),
    "slice of a view": lambda data: memoryview(b"<" + data + b">")[1:-1],
    "strided view": lambda data: memoryview(bytes(byte for pair in zip(data, data) for byte in pair))[::2],
    "mmap": mapped,
    "array": lambda data: array.array("b", data),
    "numpy": lambda data: numpy.frombuffer(data, dtype=numpy.uint8),
    "numpy 16 bit": lambda data: numpy.frombuffer(data, dtype="<u2"),
    "numpy writable": lambda data: numpy.frombuffer(data, dtype=numpy.uint8).copy(),
    "char view": lambda data: memoryview(data).cast("c"),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_bytes_likes(db: kvs.DB, kind: Callable[[bytes], object]) -> None:
    key: bytes = kind(b"a key!")  # type: ignore[assignment]
    value: bytes = kind(b"value \x00\xff\x80")  if kind is not KINDS["numpy 16 bit"] else kind(b"value \x00\xff")  # type: ignore[assignment]
    wanted = bytes(memoryview(value))
    db[key] = value
    assert list(db.items()) == [(b"a key!", wanted)]
    for result in (db[key], db.get(key), db.get_many([key])[0], db.pop(key), db.setdefault(key, value)):
        assert type(result) is bytes
        assert result == wanted
    assert key in db
    assert key in db.keys()
    assert len(db.keys(key, start=key)) == 1
    with db.batch() as batch:
        batch.put(key, value)
    db.put_many([(key, value)])
    with db.snapshot() as snapshot:
        assert snapshot[key] == wanted
    del db[key]
    db.delete(key)
    assert len(db) == 0


@pytest.mark.parametrize("call", ["getitem", "get", "put key", "put value", "in", "del", "pop", "setdefault", "get_many"])
@pytest.mark.parametrize("wrong", ["text", 5, None, 1.5, [1], object()], ids=repr)
def test_everything_else_is_a_type_error(db: kvs.DB, call: str, wrong: object) -> None:
    bad: bytes = wrong  # type: ignore[assignment]
    calls: dict[str, Callable[[], object]] = {
        "getitem": lambda: db[bad],
        "get": lambda: db.get(bad),
        "put key": lambda: db.put(bad, b""),
        "put value": lambda: db.put(b"", bad),
        "in": lambda: bad in db,
        "del": lambda: db.__delitem__(bad),
        "pop": lambda: db.pop(bad, None),
        "setdefault": lambda: db.setdefault(b"k", bad),
        "get_many": lambda: db.get_many([b"k", bad]),
    }
    with pytest.raises(TypeError, match=r"\.encode\(\)" if isinstance(wrong, str) else f"not .*{type(wrong).__name__}"):
        calls[call]()
    assert len(db) == 0


def test_the_buffer_is_free_again(db: kvs.DB) -> None:
    key, value = bytearray(b"k"), bytearray(b"v")
    db[key] = value
    key.append(1)
    value.append(1)
    assert dict(db) == {b"k": b"v"}


def test_a_released_view(db: kvs.DB) -> None:
    view = memoryview(b"k")
    view.release()
    with pytest.raises((TypeError, ValueError)):
        db[view]


def test_limits(db: kvs.DB) -> None:
    longest = bytes(64 << 10)
    db[longest] = b"v"
    assert db[longest] == b"v"
    with pytest.raises(kvs.TooLargeError):
        db[longest + b"x"] = b"v"
    assert len(db) == 1
