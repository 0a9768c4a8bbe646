"""A program may end in any way with stores open: no crash, no hang, and what was written is there."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess

import pytest

import kvs

START = """
import sys, threading, time, gc
import kvs
db = kvs.open("store")
db.put_many((b"%05d" % n, b"v") for n in range(5000))
"""

WAYS = {
    "nothing closed": "",
    "sys.exit": "sys.exit(0)",
    "everything alive": "a = db.snapshot(), db.items(), iter(db.items()), iter(db.snapshot()); [next(i) for i in a[2:]]; b = db.batch(); b[b'x'] = b'y'",
    "in a cycle": "class C: pass\nc = C(); c.c = c; c.db = db; c.i = iter(db); next(c.i); del db, c",
    "held by a module": "sys.db = db; sys.i = iter(db); next(sys.i)",
    "used by __del__": "class C:\n  def __init__(s): s.db = db\n  def __del__(s):\n    try: s.db.get(b'k')\n    except kvs.ClosedError: pass\nc = C()",
    "used by atexit": "import atexit\natexit.register(lambda: (db.put(b'late', b'v'), db.delete(b'late')))",
    "closed by atexit": "import atexit\natexit.register(db.close)",
    "threads that are waited for": "def work():\n  time.sleep(.2)\n  db[b'00000'] = b'v'\nthreading.Thread(target=work).start()",
    "daemon threads": "def work():\n  try:\n    while True: db.get_many([b'00001'] * 10); db[b'00000'] = b'v'; list(db.keys(limit=100))\n  except kvs.ClosedError: pass\n"
    "for _ in range(4): threading.Thread(target=work, daemon=True).start()\ntime.sleep(.2)",
    "exits in a with block": "with db: sys.exit(0)",
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_exit(run: Callable[..., CompletedProcess[str]], tmp_path: Path, way: str) -> None:
    result = run(START + way)
    assert (result.returncode, result.stderr) == (0, "")
    with kvs.open(tmp_path / "store", create=False) as db:
        assert len(db) == 5000


def test_many_daemon_thread_exits(run: Callable[..., CompletedProcess[str]]) -> None:
    """The end meets the threads at another place each time."""
    for _ in range(10):
        result = run(START + WAYS["daemon threads"].replace("time.sleep(.2)", "time.sleep(.02)"))
        assert (result.returncode, result.stderr) == (0, "")


def test_an_uncaught_exception(run: Callable[..., CompletedProcess[str]], tmp_path: Path) -> None:
    result = run(START + "db[b'00000'] = b'w'; raise ZeroDivisionError")
    assert result.returncode == 1
    assert result.stderr.rstrip().endswith("ZeroDivisionError")
    with kvs.open(tmp_path / "store", create=False) as db:
        assert db[b"00000"] == b"w"


def test_exit_of_a_program_that_only_imports(run: Callable[..., CompletedProcess[str]]) -> None:
    result = run("import kvs, kvs._kvs, importlib; importlib.reload(kvs)")
    assert (result.returncode, result.stderr) == (0, "")


LONG = {
    "list": "list(db.keys())",
    "len": "len(db)",
    "sum": "sum(map(len, db.values()))",
    "view len": "len(db.items(b''))",
    "get_many": "db.get_many(keys)",
    "eq": "db == same",
    "in values": "b'missing' in db.values()",
}


@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals to send")
@pytest.mark.parametrize("call", LONG.values(), ids=LONG)
def test_ctrl_c_in_a_long_call(run: Callable[..., CompletedProcess[str]], call: str) -> None:
    """The handler runs while the call is under way, not after it: it closes the store, and the call meets that.

    A handler that is only run when the call is over would let the call end as if nothing had happened.
    """
    script = f"""
import signal, sys
import kvs
keys = [b"%06d" % n for n in range(150_000)]
same = dict.fromkeys(keys, b"v" * 20)
ran = []
def handler(*_):
    ran.append(None)
    db.close()
signal.signal(signal.SIGALRM, handler)
for attempt in range(3):
    db = kvs.open(in_memory=True)
    db.put_many(same)
    signal.setitimer(signal.ITIMER_REAL, 0.001)
    try:
        {call}
    except kvs.ClosedError:
        pass
    else:
        sys.exit("the handler did not run in time" if ran else "the call was too short for a signal")
assert len(ran) == 3

# And what the handler raises comes out of the call.
def handler(*_):
    raise KeyboardInterrupt
signal.signal(signal.SIGALRM, handler)
db = kvs.open(in_memory=True)
db.put_many(same)
try:
    # Inside: on a busy machine the signal comes before the next line.
    signal.setitimer(signal.ITIMER_REAL, 0.001)
    {call}
    sys.exit("not interrupted")
except KeyboardInterrupt:
    pass
assert db == same
"""
    result = run(script)
    assert result.returncode == 0, result.stderr


def test_ctrl_c_leaves_an_iteration_usable() -> None:
    with kvs.open(in_memory=True) as db:
        keys = [b"%06d" % n for n in range(20_000)]
        db.put_many((key, b"") for key in keys)
        iterator = iter(db)
        seen: list[bytes] = []
        timer = threading.Timer(0.002, os.kill, (os.getpid(), signal.SIGINT))
        try:
            timer.start()
            while True:
                seen.append(next(iterator))
                # On a busy machine the signal may come long after the last key.
                for _ in range(60 if len(seen) == len(keys) else 0):
                    time.sleep(1)
        except KeyboardInterrupt:
            pass
        timer.join()
        rest = list(iterator)
        # The interrupt may fall between `next` and `append`: then the key in hand is lost, no other.
        assert len(seen) + len(rest) >= len(keys) - 1
        assert seen == keys[: len(seen)]
        assert rest == keys[len(keys) - len(rest) :]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("call", ["db.verify()", "db.compact()", "db.flush()", "kvs.repair('store', 'repaired')"])
def test_ctrl_c_ends_a_call_that_takes_long(run: Callable[..., CompletedProcess[str]], call: str) -> None:
    """The caller gets what its handler raised, and by then the call has ended, before it was done: it once ran on in the background, for minutes.

    The signal has to fall into the call, whose length nobody knows: it is tried several times. That the call was cut short is seen in what it
    would have counted, left behind, or cost.
    """
    script = f"""
import os, shutil, signal, sys, time
import kvs
def under_way():
    for thread in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{{thread}}/comm") as name:
                if name.read() == "kvs-python\\n":
                    return True
        except OSError:
            pass             # Ended meanwhile.
    return False
def handler(*_):
    raise KeyboardInterrupt
signal.signal(signal.SIGALRM, handler)

call = {call!r}
# Nothing is merged but for those who ask: a step of the worker's own would have to end before theirs begins. So not much of a
# table may be dead, either.
idle = dict(runs_max=100, space_percent=1000)
db = kvs.open("store", segment_bytes_max="64m", segment_bytes_min="64m", memtable_bytes_max="512m", **idle)
value = os.urandom(5000 if "verify" in call else 1000)
pairs = {{b"%06d" % n: value for n in range(40_000)}}
some = [{{key: value for key in list(pairs)[part::30]}} for part in range(30)]
for more in (pairs, some[0] if "compact" in call else pairs):
    db.put_many(more)
    if call != "db.flush()":
        db.flush()
if "repair" in call:
    db.close()
def done():
    # What has gone up when the call has come to its end.
    return {{
        "db.verify()": lambda: time.process_time(),
        "db.compact()": lambda: db.stats()["merges"],
        "db.flush()": lambda: db.stats()["flushes"],
    }}.get(call, lambda: len(os.listdir("repaired") if os.path.exists("repaired") else []))()
whole = 1
if "verify" in call:
    # The first faults pages in, and costs more.
    costs = []
    for _ in range(4):
        began = done()
        {call}
        costs.append(done() - began)
    whole = min(costs) * 0.5
for attempt in range(30):
    began = done()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02 / (attempt % 10 + 1))
        {call}
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        if under_way():
            sys.exit("it runs on")
        if done() - began < whole:
            break
    if "repair" in call:
        shutil.rmtree("repaired", ignore_errors=True)
    elif "verify" not in call:
        db.put_many(some[attempt] if "compact" in call else pairs)
        if "compact" in call:
            db.flush()
else:
    sys.exit("not cut short")
if db.closed:
    assert kvs.repair("store", "repaired").is_complete
    with kvs.open("repaired", create=False) as db:
        assert len(db) == 40_000 and db[b"000007"] == value
    sys.exit(0)
assert db[b"000007"] == value
db[b"more"] = b"x"
{call}                       # What came before does not concern it.
db.close()
with kvs.open("store", create=False) as db:
    assert len(db) == 40_001 and db[b"more"] == b"x"
    db.verify()
"""
    result = run(script)
    assert result.returncode == 0, result.stderr


def test_ctrl_c_does_not_concern_other_threads(path: Path) -> None:
    """The engine can only be interrupted as a whole, and so other threads' calls once were told, too.

    What is interrupted in them begins anew: they see nothing of it, a write that waits for room included.
    """
    value = os.urandom(1000)
    done = threading.Event()
    with kvs.open(path, segment_bytes_min="64k", segment_bytes_max="64k", memtable_bytes_max="256k") as db:
        db.put_many((b"%05d" % n, value) for n in range(20_000))
        work = [
            lambda n: db.put(b"put %d" % n, value * 10),
            lambda n: db.put_many({b"many %d" % n: value * 10}),
            lambda n: db.compact(b"0", b"00100"),
            lambda n: db.verify(),
            lambda n: (db.setdefault(b"default", value), db.pop(b"default")),
        ]

        def other(call: Callable[[int], object]) -> int:
            n = 0
            while not done.is_set():
                call(n)
                n += 1
            return n

        def stopped(*_: object) -> None:
            raise KeyboardInterrupt

        before = signal.signal(signal.SIGALRM, stopped)
        interrupted = 0
        with ThreadPoolExecutor(len(work)) as pool:
            others = [pool.submit(other, call) for call in work]
            try:
                # How long a call takes here, nobody knows.
                for attempt in range(2000):
                    if interrupted > 5 and attempt >= 40:
                        break
                    try:
                        signal.setitimer(signal.ITIMER_REAL, 0.02 / (attempt % 10 + 1))
                        db.verify()
                        signal.setitimer(signal.ITIMER_REAL, 0)
                    except KeyboardInterrupt:
                        interrupted += 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, before)
                done.set()
            rounds = [each.result(60) for each in others]
        assert interrupted > 5
        assert min(rounds) > 0
        assert len(db.keys(b"put ")) == rounds[0] and len(db.keys(b"many ")) == rounds[1]


@pytest.mark.parametrize("call", ["verify", "compact", "flush"])
def test_interrupt(path: Path, call: str) -> None:
    """A program that interrupts the store itself is told so in each thread that it meets."""
    value = os.urandom(1000)
    with kvs.open(path, segment_bytes_min="64m", segment_bytes_max="64m", memtable_bytes_max="256m") as db:
        db.interrupt()
        pairs = {b"%06d" % n: value for n in range(20_000)}
        for _ in range(20):
            db.put_many(pairs)
            with ThreadPoolExecutor(1) as pool:
                under_way = pool.submit(getattr(db, call))
                while not under_way.done():
                    db.interrupt()
            error = under_way.exception()
            if error is not None:
                break
        assert type(error) is kvs.InterruptedError
        assert isinstance(error, InterruptedError) and isinstance(error, OSError) and error.errno is None
        getattr(db, call)()
        assert db == pairs
