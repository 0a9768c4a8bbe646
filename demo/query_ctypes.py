"""The demonstration's queries through the C ABI, from any Python, with nothing but ctypes: prints what query.c prints.

    python query_ctypes.py LIBRARY DIR

The functions are declared as in include/kvs.h, as many as are needed.
"""

import ctypes
import itertools
import sys
import time
from collections.abc import Iterator
from ctypes import POINTER, byref, c_char_p, c_int32, c_size_t, c_uint32, c_void_p

OK, NOT_FOUND, END = 0, 1, 2

kvs = ctypes.CDLL(sys.argv[1])
out = POINTER(c_void_p)
length = POINTER(c_size_t)
for name, result, *arguments in [
    ("kvs_status_name", c_char_p, c_int32),
    ("kvs_error_message", c_char_p, c_void_p),
    ("kvs_error_free", None, c_void_p),
    ("kvs_options_new", c_int32, out),
    ("kvs_options_set", c_int32, c_void_p, c_char_p, c_char_p, out),
    ("kvs_options_free", None, c_void_p),
    ("kvs_open", c_int32, c_char_p, c_void_p, out, out),
    ("kvs_close", c_int32, c_void_p, out),
    ("kvs_free_db", None, c_void_p),
    ("kvs_get", c_int32, c_void_p, c_void_p, c_char_p, c_size_t, out, length, out),
    ("kvs_free", None, c_void_p),
    ("kvs_iter_new", c_int32, c_void_p, c_void_p, c_char_p, c_size_t, c_char_p, c_size_t, c_uint32, out, out),
    ("kvs_iter_next", c_int32, c_void_p, out),
    ("kvs_iter_prev", c_int32, c_void_p, out),
    ("kvs_iter_item", c_int32, c_void_p, out, length, out, length),
    ("kvs_iter_free", None, c_void_p),
]:
    function = getattr(kvs, name)
    function.restype, function.argtypes = result, arguments


def call(function, *arguments, good=(OK,)) -> int:
    """Calls a function whose last parameter is the place for an error."""
    error = c_void_p()
    status = function(*arguments, byref(error))
    if status not in good:
        text = f"{kvs.kvs_status_name(status).decode()}: {kvs.kvs_error_message(error).decode()}"
        kvs.kvs_error_free(error)
        raise SystemExit(text)
    return status


def open_read_only(path: str) -> c_void_p:
    options, db = c_void_p(), c_void_p()
    if kvs.kvs_options_new(byref(options)) != OK:
        raise SystemExit("kvs_options_new failed")
    call(kvs.kvs_options_set, options, b"read_only", b"true")
    call(kvs.kvs_open, path.encode(), options, byref(db))
    kvs.kvs_options_free(options)
    return db


def get(db: c_void_p, key: bytes) -> bytes | None:
    value, size = c_void_p(), c_size_t()
    if call(kvs.kvs_get, db, None, key, len(key), byref(value), byref(size), good=(OK, NOT_FOUND)) == NOT_FOUND:
        return None
    copy = ctypes.string_at(value, size.value)
    kvs.kvs_free(value)
    return copy


def pairs(db: c_void_p, low: bytes | None, high: bytes | None, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
    iterator = c_void_p()
    call(kvs.kvs_iter_new, db, None, low, len(low or b""), high, len(high or b""), 0, byref(iterator))
    move = kvs.kvs_iter_prev if reverse else kvs.kvs_iter_next
    key, key_len, value, value_len = c_void_p(), c_size_t(), c_void_p(), c_size_t()
    try:
        while call(move, iterator, good=(OK, END)) == OK:
            if kvs.kvs_iter_item(iterator, byref(key), byref(key_len), byref(value), byref(value_len)) != OK:
                raise SystemExit("kvs_iter_item failed")
            yield ctypes.string_at(key, key_len.value), ctypes.string_at(value, value_len.value)
    finally:
        kvs.kvs_iter_free(iterator)


def show(found: Iterator[tuple[bytes, bytes]]) -> None:
    for key, value in found:
        print(key.decode(), value.decode(), sep="\t")


def queries(db: c_void_p) -> None:
    print("# point: U+1F600, and U+10FFFF, which is no character")
    for key in b"char/01F600", b"char/10FFFF":
        value = get(db, key)
        print("Key not found" if value is None else value.decode())
    print("# range: the block Greek and Coptic, U+0370 to U+03FF")
    show(pairs(db, b"char/000370", b"char/000400"))
    print("# prefix: words that begin with durab")
    show(pairs(db, b"word/durab", b"word/durac"))
    print("# reverse: the last five characters")
    last = pairs(db, b"char/", b"char0", reverse=True)
    show(itertools.islice(last, 5))
    last.close()


def measure(db: c_void_p) -> None:
    began = time.perf_counter()
    count = sum(1 for _ in pairs(db, None, None))
    scanned = time.perf_counter() - began
    keys = [key for key, _ in pairs(db, b"char/", b"char0")]
    keys = [keys[i * 1000003 % len(keys)] for i in range(len(keys))]
    began = time.perf_counter()
    for key in keys:
        get(db, key)
    got = time.perf_counter() - began
    print(
        f"ctypes: {count} pairs scanned, {count / scanned / 1e3:.0f} k/s; {len(keys)} values got at random, "
        f"{len(keys) / got / 1e3:.0f} k/s",
        file=sys.stderr,
    )


if __name__ == "__main__":
    db = open_read_only(sys.argv[2])
    queries(db)
    measure(db)
    call(kvs.kvs_close, db)
    kvs.kvs_free_db(db)
