"""Calls of each kind leave no memory behind: neither Python's (tracemalloc) nor the heap's (mallinfo) nor the process's (RSS).

Each kind runs in a process of its own. It is warmed up first, until what grows once has grown; then many more calls must add nothing
that grows with their number. The heap is counted to the byte, so a leak of 16 bytes shows after four thousand calls; RSS sees what is mapped.

How many calls there are is written beside each. A million of each, for as long as it takes (opens and closes on disk: hours):

    KVS_LEAK_CALLS=1000000 python -m pytest -rP -o faulthandler_timeout=0 python/tests/test_leaks.py [-k 'in memory']
"""

import os
import sys
from collections.abc import Callable
from subprocess import CompletedProcess

import pytest

CALLS = int(os.environ.get("KVS_LEAK_CALLS", "0"))

# Name: how many calls, and what makes `n` of them.
KINDS = {
    "get": (1_000_000, "for key in keys(n): db.get(key)"),
    "get of a missing key": (1_000_000, "for key in keys(n): db.get(key + b'?', None)"),
    "[] of a missing key": (
        250_000,
        """
for key in keys(n):
    try: db[key + b'?']
    except KeyError: pass""",
    ),
    "get_many": (10_000, "for _ in range(n): db.get_many([b'%04d' % m for m in range(100)])"),
    "get_view": (
        200_000,
        """
for key in keys(n):
    with db.get_view(key): pass""",
    ),
    "views that are dropped": (200_000, "for key in keys(n): db.get_view(key)[1:]"),
    "items": (1_000, "for _ in range(n): list(db.items())"),
    "items without a copy": (500, "for _ in range(n): list(db.items(zero_copy=True))"),
    "entries": (1_000_000, "for _ in range(n // 1000 + 1): list(db.items())"),
    "iterations": (100_000, "for _ in range(n): next(iter(db.values()))"),
    "seek": (
        20_000,
        """
iterator = iter(db.keys())
for key in keys(n): iterator.seek(key); next(iterator)""",
    ),
    "contains and len": (500_000, "for key in keys(n): key in db\nlen(db.keys())"),
    "batches that are discarded": (
        10_000,
        """
for _ in range(n):
    try:
        with db.batch() as batch:
            for m in range(100): batch[b'%04d' % m] = b'x' * 100
            1 / 0
    except ZeroDivisionError: pass""",
    ),
    "snapshots": (50_000, "for _ in range(n): db.snapshot().get(b'0001')"),
    "errors": (
        10_000,
        """
for _ in range(n):
    try: db.get('text')
    except TypeError: pass
    try: db.property('colour')
    except kvs.InvalidArgument: pass""",
    ),
    "stats and repr": (4_000, "for _ in range(n): db.stats(); repr(db); db._repr_html_()"),
    "long calls": (5_000, "for _ in range(n): db.flush(); db.interrupt()"),
    "opens and closes in memory": (6_000, "for _ in range(n): kvs.open(in_memory=True).close()"),
    "opens without a close": (6_000, "for _ in range(n): kvs.open(in_memory=True)"),
    "opens and closes on disk": (
        100,
        """
for _ in range(n):
    with kvs.open('store', segment_bytes_min='64k') as other: other[b'k'] = b'v'""",
    ),
    "opens that fail": (
        5_000,
        """
for _ in range(n):
    try: kvs.open('missing/store')
    except kvs.IoError: pass""",
    ),
    "typed": (100_000, "typed = kvs.TypedDB(db, 'utf-8', 'utf-8')\nfor _ in range(n): typed.get('0001')"),
    "dbm": (1_000, "for _ in range(n): kvs.dbm_open(None, 'c', in_memory=True).close()"),
    # A merge that is under way has a buffer as large as a table.
    "put of the same": (100_000, "for key in keys(n): fresh[key] = key\nfresh.compact()"),
}

# Bytes of the heap.
HEAP_MAX = 60_000

SCRIPT = """
import ctypes, gc, os, sys, tracemalloc
import kvs

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

class Mallinfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]

# Bytes that were allocated and not freed, of all arenas. Absent below glibc 2.33, and in other libraries.
mallinfo = getattr(ctypes.CDLL(None), "mallinfo2", None)
if mallinfo is not None:
    mallinfo.restype = Mallinfo

def heap():
    if mallinfo is None:
        return 0
    info = mallinfo()
    return info.uordblks + info.hblkhd

def keys(n):
    for m in range(n):
        yield b"%04d" % (m % 1000)

db = kvs.open(in_memory=True)
db.put_many((b"%04d" % n, b"x" * 50) for n in range(1000))
# Bounded, so that its own log ends somewhere.
fresh = kvs.open("fresh", segment_bytes_min="64k", segment_bytes_max="64k", memtable_bytes_max="256k")

def work(n):
{work}

n = {n}
# Twice: caches, free lists and the allocator's arenas reach their size.
work(n // 5)
work(n // 5)
gc.collect()
before, leaked = resident(), None
for _ in range(5):
    allocated = heap()
    work(n)
    gc.collect()
    # What a store keeps for a while, such as the order of its log, comes and goes; what is left behind comes every time.
    grown, more = resident() - before, heap() - allocated
    leaked = more if leaked is None else min(leaked, more)
    if leaked < {heap_max}:
        break

tracemalloc.start()
work(n // 500 + 1)
gc.collect()
first = tracemalloc.take_snapshot()
work(n // 50 + 1)
gc.collect()
second = tracemalloc.take_snapshot()
traced = sum(max(0, difference.size_diff) for difference in second.compare_to(first, "filename") if "tracemalloc" not in str(difference.traceback))
print(grown, leaked, traced)
"""


def script_of(work: str, n: int) -> str:
    return SCRIPT.replace("{work}", work).replace("{n}", str(n)).replace("{heap_max}", str(HEAP_MAX))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left(run: Callable[..., CompletedProcess[str]], kind: str) -> None:
    calls, work = KINDS[kind]
    work = "\n".join("    " + line for line in work.strip().splitlines())
    result = run(script_of(work, CALLS or calls), seconds=1e6 if CALLS else 110)
    assert result.returncode == 0, result.stderr
    grown, leaked, traced = map(int, result.stdout.split())
    print(f"{kind}: {CALLS or calls:,} calls; {grown:,} bytes more resident, {leaked:,} in the heap, {traced:,} of Python")
    assert grown < 3 << 20, f"{grown} bytes of the process"
    assert leaked < HEAP_MAX, f"{leaked} bytes of the heap"
    assert traced < 20_000, f"{traced} bytes of Python"


def test_the_test_above_can_fail(run: Callable[..., CompletedProcess[str]]) -> None:
    """Sixteen bytes a call are found, in each of the two heaps."""
    for leak, found in (("ctypes.CDLL(None).malloc(16)", 1), ("kept.append(bytes(16))", 2)):
        script = script_of(f"    for _ in range(n): {leak}", 50_000)
        result = run(script.replace("def work", "kept = []\n\ndef work"))
        assert result.returncode == 0, result.stderr
        assert int(result.stdout.split()[found]) >= (HEAP_MAX, 20_000)[found - 1]
