"""A million calls of each kind leave no memory behind: neither Python's (tracemalloc) nor the process's (RSS).

Each kind runs in a process of its own. It is warmed up first, until what grows once has grown; then the same again must add nothing
that grows with the number of calls. A leak of 16 bytes a call would be 16 MB; the bounds are a small part of that.
"""

import sys
from collections.abc import Callable
from subprocess import CompletedProcess

import pytest

# Name: what is done `n` times.
KINDS = {
    "get": "for key in keys(n): db.get(key)",
    "get of a missing key": "for key in keys(n): db.get(key + b'?', None)",
    "[] of a missing key": """
for key in keys(n // 4):
    try: db[key + b'?']
    except KeyError: pass""",
    "get_many": "for _ in range(n // 100): db.get_many([b'%04d' % m for m in range(100)])",
    "get_view": """
for key in keys(n):
    with db.get_view(key): pass""",
    "views that are dropped": "for key in keys(n): db.get_view(key)[1:]",
    "items": "for _ in range(n // 1000): list(db.items())",
    "values in part": "for _ in range(n // 100): next(iter(db.values()))",
    "seek": """
iterator = iter(db.keys())
for key in keys(n // 10): iterator.seek(key); next(iterator)""",
    "contains and len": "for key in keys(n // 2): key in db\nlen(db.keys())",
    "batches that are discarded": """
for _ in range(n // 100):
    try:
        with db.batch() as batch:
            for m in range(100): batch[b'%04d' % m] = b'x' * 100
            1 / 0
    except ZeroDivisionError: pass""",
    "snapshots": "for _ in range(n // 20): db.snapshot().get(b'0001')",
    "errors": """
for _ in range(n // 20):
    try: db.get('text')
    except TypeError: pass
    try: db.property('colour')
    except kvs.InvalidArgument: pass""",
    "stats and repr": "for _ in range(n // 200): db.stats(); repr(db); db._repr_html_()",
    "opens and closes in memory": "for _ in range(n // 50): kvs.open(in_memory=True).close()",
    "opens without a close": "for _ in range(n // 100): kvs.open(in_memory=True)",
    "opens and closes on disk": """
for _ in range(n // 20000):
    with kvs.open('store', segment_bytes_min='64k') as other: other[b'k'] = b'v'""",
    "opens that fail": """
for _ in range(n // 200):
    try: kvs.open('missing/store')
    except kvs.IoError: pass""",
    "typed": "typed = kvs.TypedDB(db, 'utf-8', 'utf-8')\nfor _ in range(n // 10): typed.get('0001')",
    "dbm": "for _ in range(n // 1000): kvs.dbm_open(None, 'c', in_memory=True).close()",
    "put of the same": "for key in keys(n // 10): fresh[key] = key",
}

SCRIPT = """
import gc, os, sys, tracemalloc
import kvs

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def keys(n):
    for m in range(n):
        yield b"%04d" % (m % 1000)

db = kvs.open(in_memory=True)
db.put_many((b"%04d" % n, b"x" * 50) for n in range(1000))
# Bounded, so that its own log ends somewhere.
fresh = kvs.open("fresh", segment_bytes_min="64k", segment_bytes_max="64k", memtable_bytes_max="256k")

def work(n):
{work}

# Twice: caches, free lists and the allocator's arenas reach their size.
work(200_000)
work(200_000)
gc.collect()
before = resident()
work(1_000_000)
gc.collect()
grown = resident() - before

tracemalloc.start()
work(2_000)
gc.collect()
first = tracemalloc.take_snapshot()
work(20_000)
gc.collect()
second = tracemalloc.take_snapshot()
traced = sum(max(0, difference.size_diff) for difference in second.compare_to(first, "filename") if "tracemalloc" not in str(difference.traceback))
print(grown, traced)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left(run: Callable[..., CompletedProcess[str]], kind: str) -> None:
    work = "\n".join("    " + line for line in KINDS[kind].strip().splitlines())
    result = run(SCRIPT.replace("{work}", work), seconds=110)
    assert result.returncode == 0, result.stderr
    grown, traced = map(int, result.stdout.split())
    assert grown < 3 << 20, f"{grown} bytes of the process"
    assert traced < 20_000, f"{traced} bytes of Python"
