"""The demonstration's queries with the Python package: prints what `query read` of query.c prints.

python query.py DIR
"""

import sys
import time

import kvs


def show(items: kvs.View[tuple[bytes, bytes]]) -> None:
    for key, value in items:
        print(key.decode(), value.decode(), sep="\t")


def queries(db: kvs.DB) -> None:
    print("# point: U+1F600, and U+10FFFF, which is no character")
    print(db[b"char/01F600"].decode())
    print(db.get(b"char/10FFFF", b"Key not found").decode())
    print("# range: the block Greek and Coptic, U+0370 to U+03FF")
    show(db.items(start=b"char/000370", stop=b"char/000400"))
    print("# prefix: words that begin with durab")
    show(db.items(b"word/durab"))
    print("# reverse: the last five characters")
    show(db.items(b"char/", reverse=True, limit=5))


def measure(db: kvs.DB) -> None:
    began = time.perf_counter()
    pairs = sum(1 for _ in db.items())
    scanned = time.perf_counter() - began
    keys = list(db.keys(b"char/"))
    keys = [keys[i * 1000003 % len(keys)] for i in range(len(keys))]
    began = time.perf_counter()
    values = [db[key] for key in keys]
    got = time.perf_counter() - began
    began = time.perf_counter()
    same = db.get_many(keys) == values
    at_once = time.perf_counter() - began
    if not same:
        raise SystemExit("get_many and [] differ")
    print(
        f"Python: {pairs} pairs scanned, {pairs / scanned / 1e3:.0f} k/s; {len(keys)} values got at random, "
        f"{len(keys) / got / 1e3:.0f} k/s, with get_many {len(keys) / at_once / 1e3:.0f} k/s",
        file=sys.stderr,
    )


if __name__ == "__main__":
    with kvs.open(sys.argv[1], read_only=True) as db:
        queries(db)
        measure(db)
