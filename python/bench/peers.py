"""kvs beside the stores that Python people use: the same work, the same run, the same durability, told as ratios.

    make bench-python                       everything: a release build, an environment with the peers, a table and a picture
    python python/bench/peers.py [--keys 1000000] [--rounds 3] [--seconds 20] [--stores kvs,lmdb] [--plot FILE] [--json FILE]

1. Keys are 16 bytes, values 100. Key objects are distinct and shuffled, as real programs have them: `dict.get` of one hot key costs 44 ns,
   of a million shuffled ones about 740.
2. Each store runs in a process of its own, alone, in every round; rounds of all stores alternate, and the best of each row counts. So a slow
   moment of the machine hits all alike.
3. Durability is that of kvs' default, everywhere: a write survives `kill -9`, not power loss. No store syncs; each writes to the page cache.
   A single put is a transaction of its own where the store has these.
4. Memory: whoever has a cache of its own gets 256 MiB of it, which is more than the data; LMDB has the page cache, kvs its defaults. Bloom
   filters where there are such (plyvel has none unless asked).
5. Each peer is used as its own documentation says is fast: raw bytes where it would pickle, prepared statements and WAL in SQLite, `putmulti` and
   a transaction for many gets in LMDB, write batches in LevelDB and RocksDB. What one has no call for is done by single calls; what it cannot
   do at all (a prefix, where there is no order) is left out.
6. A row ends after `--seconds` for who is slow; the rate is that of what was done by then.
7. A ratio above 1 is in favour of kvs. `dict` is the limit of the language, and no store; it is left out of "best".
8. At the end each bar of the contract is answered: yes, or NO with the numbers.

Keep the machine quiet: figures of a machine that does other work are worth nothing.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

VALUE = b"v" * 100
BIG = random.Random(64).randbytes(64 << 10)
MANY = 100
PREFIX = 100


def keys_of(count: int) -> list[bytes]:
    """In key order. The first 14 digits of 16 are shared by a hundred keys."""
    return [b"%016d" % n for n in range(count)]


def shuffled(keys: list[bytes], seed: int) -> list[bytes]:
    """Other objects than those that were written, in another order."""
    keys = [bytes(bytearray(key)) for key in keys]
    random.Random(seed).shuffle(keys)
    return keys


class Store:
    """What a row may ask of a store. What one cannot do better than by single calls is done by single calls."""

    # One key to its value; a key and its value; nothing to an iterable of pairs.
    get: Any
    put: Any
    items: Any

    def __init__(self, path: Path) -> None:
        self.path = path

    def get_many(self, keys: list[bytes]) -> Any:
        return [self.get(key) for key in keys]

    def put_many(self, pairs: list[tuple[bytes, bytes]]) -> None:
        for key, value in pairs:
            self.put(key, value)

    def prefix(self, prefix: bytes) -> Iterable[tuple[bytes, bytes]]:
        raise NotImplementedError

    def settle(self) -> None:
        """After the load: what the store would do by itself, if it had time."""

    def close(self) -> None:
        pass


class Kvs(Store):
    def __init__(self, path: Path) -> None:
        import kvs

        self.db = kvs.open(path)
        self.get, self.put, self.items = self.db.get, self.db.put, self.db.items
        self.get_many, self.put_many, self.prefix = self.db.get_many, self.db.put_many, self.db.items
        self.settle, self.close = self.db.flush, self.db.close


class Dict(Store):
    def __init__(self, path: Path) -> None:
        self.db: dict[bytes, bytes] = {}
        self.get, self.put, self.items = self.db.get, self.db.__setitem__, self.db.items
        self.put_many = self.db.update


class Plyvel(Store):
    def __init__(self, path: Path) -> None:
        import plyvel

        self.db = plyvel.DB(str(path), create_if_missing=True, write_buffer_size=32 << 20, lru_cache_size=256 << 20, bloom_filter_bits=10)
        self.get, self.put, self.items, self.close = self.db.get, self.db.put, self.db.iterator, self.db.close

    def put_many(self, pairs: list[tuple[bytes, bytes]]) -> None:
        with self.db.write_batch() as batch:
            for key, value in pairs:
                batch.put(key, value)

    def prefix(self, prefix: bytes) -> Iterable[tuple[bytes, bytes]]:
        return self.db.iterator(prefix=prefix)


class Rocksdict(Store):
    def __init__(self, path: Path) -> None:
        import rocksdict

        self.rocksdict = rocksdict
        self.db = rocksdict.Rdict(str(path), rocksdict.Options(raw_mode=True))
        self.get, self.put, self.items, self.close = self.db.get, self.db.put, self.db.items, self.db.close
        self.settle = self.db.flush

    def get_many(self, keys: list[bytes]) -> Any:
        return self.db.get(keys)

    def put_many(self, pairs: list[tuple[bytes, bytes]]) -> None:
        batch = self.rocksdict.WriteBatch(raw_mode=True)
        for key, value in pairs:
            batch.put(key, value)
        self.db.write(batch)

    def prefix(self, prefix: bytes) -> Iterable[tuple[bytes, bytes]]:
        return itertools.takewhile(lambda pair: pair[0].startswith(prefix), self.db.items(from_key=prefix))


class Lmdb(Store):
    def __init__(self, path: Path) -> None:
        import lmdb

        self.env = lmdb.open(str(path), map_size=16 << 30, sync=False, metasync=False, max_spare_txns=8)
        self.close = self.env.close

    def get(self, key: bytes) -> Any:
        with self.env.begin() as txn:
            return txn.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        with self.env.begin(write=True) as txn:
            txn.put(key, value)

    def get_many(self, keys: list[bytes]) -> Any:
        with self.env.begin() as txn:
            return [txn.get(key) for key in keys]

    def put_many(self, pairs: list[tuple[bytes, bytes]]) -> None:
        with self.env.begin(write=True) as txn, txn.cursor() as cursor:
            cursor.putmulti(pairs)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        with self.env.begin() as txn, txn.cursor() as cursor:
            yield from cursor

    def prefix(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        with self.env.begin() as txn, txn.cursor() as cursor:
            if cursor.set_range(prefix):
                for pair in cursor:
                    if not pair[0].startswith(prefix):
                        return
                    yield pair


class Sqlite(Store):
    def __init__(self, path: Path) -> None:
        import sqlite3

        self.local = threading.local()
        self.connect = lambda: sqlite3.connect(path, isolation_level=None, timeout=60)
        db = self.db()
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("CREATE TABLE IF NOT EXISTS pairs (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")

    def db(self) -> Any:
        if not hasattr(self.local, "db"):
            self.local.db = self.connect()
            self.local.db.execute("PRAGMA synchronous=OFF")
            self.local.db.execute("PRAGMA cache_size=-262144")
        return self.local.db

    def get(self, key: bytes) -> Any:
        row = self.db().execute("SELECT value FROM pairs WHERE key = ?", (key,)).fetchone()
        return row and row[0]

    def put(self, key: bytes, value: bytes) -> None:
        self.db().execute("REPLACE INTO pairs VALUES (?, ?)", (key, value))

    def get_many(self, keys: list[bytes]) -> Any:
        marks = ",".join("?" * len(keys))
        found = dict(self.db().execute(f"SELECT key, value FROM pairs WHERE key IN ({marks})", keys))
        return [found.get(key) for key in keys]

    def put_many(self, pairs: list[tuple[bytes, bytes]]) -> None:
        db = self.db()
        db.execute("BEGIN")
        db.executemany("REPLACE INTO pairs VALUES (?, ?)", pairs)
        db.execute("COMMIT")

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        return self.db().execute("SELECT key, value FROM pairs ORDER BY key")

    def prefix(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        between = "SELECT key, value FROM pairs WHERE key >= ? AND key < ? ORDER BY key"
        return self.db().execute(between, (prefix, prefix[:-1] + bytes([prefix[-1] + 1])))


class Diskcache(Store):
    def __init__(self, path: Path) -> None:
        import diskcache

        self.db = diskcache.Cache(str(path), size_limit=1 << 40, eviction_policy="none", sqlite_synchronous=0)
        self.get, self.put, self.close = self.db.get, self.db.set, self.db.close

    def put_many(self, pairs: list[tuple[bytes, bytes]]) -> None:
        with self.db.transact():
            for key, value in pairs:
                self.db.set(key, value)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        return ((key, self.db[key]) for key in self.db.iterkeys())


class Sqlitedict(Store):
    """Over text keys, which is what it has; each is written at once, by a thread of its own."""

    def __init__(self, path: Path) -> None:
        import sqlite3

        import sqlitedict

        # It sets synchronous=OFF by itself.
        self.db = sqlitedict.SqliteDict(str(path), autocommit=True, journal_mode="WAL", encode=sqlite3.Binary, decode=bytes)
        self.close = self.db.close

    def get(self, key: bytes) -> Any:
        return self.db.get(key.decode())

    def put(self, key: bytes, value: bytes) -> None:
        self.db[key.decode()] = value

    def put_many(self, pairs: list[tuple[bytes, bytes]]) -> None:
        self.db.update((key.decode(), value) for key, value in pairs)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        return ((key.encode(), value) for key, value in self.db.items())

    def settle(self) -> None:
        self.db.commit()


class DbmSqlite(Store):
    """dbm.sqlite3, which the standard library has since 3.13."""

    def __init__(self, path: Path) -> None:
        from dbm import sqlite3

        self.db = sqlite3.open(path, "c")
        self.get, self.put, self.close = self.db.get, self.db.__setitem__, self.db.close
        self.put_many, self.items = self.db.update, self.db.items


STORES: dict[str, type[Store]] = {
    "kvs": Kvs,
    "plyvel": Plyvel,
    "rocksdict": Rocksdict,
    "lmdb": Lmdb,
    "sqlite3": Sqlite,
    "sqlitedict": Sqlitedict,
    **({"dbm.sqlite3": DbmSqlite} if sys.version_info >= (3, 13) else {}),
    "diskcache": Diskcache,
    "dict": Dict,
}


def rate(each: Iterable[Any], call: Callable[[Any], Any], seconds: float, weight: int = 1) -> float:
    """Nanoseconds for one, of `weight` in each call. The clock is looked at now and then."""
    done = 0
    iterator = iter(each)
    begun = time.perf_counter()
    while chunk := list(itertools.islice(iterator, 500)):
        for item in chunk:
            call(item)
        done += len(chunk)
        if time.perf_counter() - begun > seconds:
            break
    return (time.perf_counter() - begun) * 1e9 / (done * weight)


def drain(pairs: Iterable[Any], seconds: float) -> float:
    """Nanoseconds a pair. The pairs are taken in C, ten thousand at a time: a loop in Python takes as long as the fastest of these iterators."""
    rest = iter(pairs)
    done = 0
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds:
        last = deque(enumerate(itertools.islice(rest, 10_000), 1), maxlen=1)
        if not last:
            break
        done += last[0][0]
    return (time.perf_counter() - begun) * 1e9 / done


def measure(name: str, count: int, seconds: float) -> dict[str, float]:
    """All rows of one store, in this process: nanoseconds for one key, pair or value."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as directory:
        store = STORES[name](Path(directory) / "store")
        ordered = keys_of(count)
        writes, reads = shuffled(ordered, 1), shuffled(ordered, 2)
        chunks = [reads[at : at + MANY] for at in range(0, count, MANY)]

        found["put"] = rate(writes, lambda key: store.put(key, VALUE), seconds)
        pairs = [[(key, VALUE) for key in chunk] for chunk in chunks]
        found["put_many"] = rate(pairs, store.put_many, seconds, MANY)
        for chunk in pairs:
            store.put_many(chunk)  # Whoever was too slow above: now all keys are there.
        store.settle()

        found["get"] = rate(reads, store.get, seconds)
        found["get_many"] = rate(chunks, store.get_many, seconds, MANY)
        found["items"] = drain(store.items(), seconds)
        try:
            prefixes = [key[:14] for key in reads[: max(1, count // PREFIX)]]
            found["items(prefix)"] = rate(prefixes, lambda prefix: sum(1 for _ in store.prefix(prefix)), seconds, PREFIX)
        except NotImplementedError:
            pass

        # Of two threads: the time of the run for one key of either.
        halves = [reads[: count // 2], reads[count // 2 :]]
        rates: list[float] = []
        threads = [threading.Thread(target=lambda half=half: rates.append(rate(half, store.get, seconds))) for half in halves]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found["get, 2 threads"] = 1 / sum(1 / each for each in rates)

        stop = threading.Event()

        def write() -> None:
            for key in itertools.cycle(writes):
                if stop.is_set():
                    return
                store.put(key, VALUE)

        writer = threading.Thread(target=write)
        writer.start()
        found["get beside a writer"] = rate(reads, store.get, min(seconds, 3.0))
        stop.set()
        writer.join()

        if name == "dict":
            import xxhash

            # What a get of a checked value cannot be without.
            # Of as many values as are read below: they do not fit into a cache of the processor.
            copies = [bytes(bytearray(BIG)) for _ in range(200)] * 20
            found["64 KiB: checksum, copy"] = rate(copies, lambda big: (xxhash.xxh3_64_intdigest(big), bytes(memoryview(big))), seconds)
        large = [b"large %d" % n for n in range(200)]
        for key in large:
            store.put(key, BIG)
        store.settle()
        found["get of 64 KiB"] = rate(large * 20, store.get, seconds)
        store.close()
    return found


def report(best: dict[str, dict[str, float]]) -> list[str]:
    stores = list(best)
    rows = list(best["kvs"] if "kvs" in best else next(iter(best.values())))
    lines = ["ns for one, and in brackets how many times that of kvs", f"{'':22}" + "".join(f"{store:>18}" for store in stores) + f"{'best other / kvs':>18}"]
    for row in rows:
        ours = best.get("kvs", {}).get(row)
        cells = []
        for store in stores:
            value = best[store].get(row)
            ratio = f" ({value / ours:.2f})" if value and ours and store != "kvs" else ""
            cells.append(f"{f'{value:,.0f}{ratio}' if value else '-':>18}")
        others = [best[store][row] for store in stores if store not in ("kvs", "dict") and row in best[store]]
        verdict = f"{min(others) / ours:>17.2f}x" if others and ours else ""
        lines.append(f"{row:22}" + "".join(cells) + verdict)
    lines.append("")
    wanted = [
        ("get at most 1.5x dict.get", "kvs", "get", "dict", "get", 1.5),
        ("put at least 3x plyvel", "kvs", "put", "plyvel", "put", 1 / 3),
        ("items() at least 1.5x lmdb's cursor", "kvs", "items", "lmdb", "items", 1 / 1.5),
        ("64 KiB at most 1.2x of checksum and copy", "kvs", "get of 64 KiB", "dict", "64 KiB: checksum, copy", 1.2),
        ("get_many at most 0.7x of single gets", "kvs", "get_many", "kvs", "get", 0.7),
    ]
    for text, store, row, other, other_row, most in wanted:
        if store in best and other in best and row in best[store] and other_row in best[other]:
            part = best[store][row] / best[other][other_row]
            lines.append(f"{text}: {'yes' if part <= most else 'NO'} ({part:.2f}, at most {most:.2f})")
    peers = [best[store] for store in stores if store not in ("kvs", "dict")]
    if "kvs" in best and peers:
        # How far ahead of the best peer, by row. A large value has a bar of its own, above: most of a get is its checksum, which LMDB has none of.
        ahead = {
            row: min(peer[row] for peer in peers if row in peer) / ours
            for row, ours in best["kvs"].items()
            if row != "get of 64 KiB" and any(row in peer for peer in peers)
        }
        behind = {row: ratio for row, ratio in ahead.items() if ratio <= 1}
        told = ", ".join(f"{row} {ratio:.2f}x" for row, ratio in behind.items()) or "on none"
        lines.append(f"ahead of every store on every row but at most two: {'yes' if len(behind) <= 2 else 'NO'} (behind {told})")
        least = min(ahead, key=ahead.__getitem__)
        lines.append(f"no row below 0.9x the best: {'yes' if ahead[least] >= 0.9 else 'NO'} (least is {least}, {ahead[least]:.2f}x)")
    return lines


def plot(best: dict[str, dict[str, float]], path: str) -> None:
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    rows = list(best["kvs"])
    figure, axes = plt.subplots(figsize=(11, 5))
    width = 0.8 / len(best)
    for at, (store, found) in enumerate(best.items()):
        places = [n + (at - len(best) / 2 + 0.5) * width for n in range(len(rows))]
        axes.bar(places, [found.get(row, 0) for row in rows], width, label=store)
    axes.set_yscale("log")
    axes.set_ylabel("ns for one (less is better)")
    axes.set_xticks(range(len(rows)), rows, rotation=20)
    axes.legend(ncols=len(best))
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--keys", type=int, default=1_000_000)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--seconds", type=float, default=20.0)
    arguments.add_argument("--stores", default=",".join(STORES))
    arguments.add_argument("--plot")
    arguments.add_argument("--json")
    arguments.add_argument("--one", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.one:
        print(json.dumps(measure(given.one, given.keys, given.seconds)))
        return
    best: dict[str, dict[str, float]] = {}
    for round_ in range(given.rounds):
        for store in given.stores.split(","):
            command = [sys.executable, __file__, "--one", store, "--keys", str(given.keys), "--seconds", str(given.seconds)]
            result = subprocess.run(command, capture_output=True, text=True)
            if result.returncode:
                sys.exit(f"{store}: {result.stderr}")
            for row, value in json.loads(result.stdout).items():
                rows = best.setdefault(store, {})
                rows[row] = min(rows.get(row, value), value)
            print(f"round {round_ + 1}: {store}", file=sys.stderr)
    print("\n".join(report(best)))
    if given.json:
        Path(given.json).write_text(json.dumps(best, indent=1))
    if given.plot:
        plot(best, given.plot)


if __name__ == "__main__":
    main()
