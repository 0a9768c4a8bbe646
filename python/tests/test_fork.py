"""After a fork the child's use of a store raises ForkedError: it never hangs, and never touches the parent's files."""

import multiprocessing
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

import kvs

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")


def in_child(work: Callable[[], None], seconds: float = 30) -> None:
    """Runs `work` in a forked child. What it raises fails the test, and so does a hang."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    pytest.fail("the child hung")


def contents(path: Path) -> dict[str, tuple[int, bytes]]:
    return {str(file): (file.stat().st_mtime_ns, file.read_bytes()) for file in path.rglob("*") if file.is_file()}


def test_every_object_of_the_parent(path: Path) -> None:
    db = kvs.open(path)
    db.update({b"a": b"1", b"b": b"2"})
    # No flush: afterwards the store deletes the log, at some time.
    db.sync()
    snapshot, view, iterator, batch = db.snapshot(), db.items(), iter(db.items()), db.batch()
    next(iterator)
    pinned = db.get_view(b"a")
    batch[b"c"] = b"3"

    def child() -> None:
        calls: list[Callable[[], object]] = [
            lambda: db[b"a"],
            lambda: db.get_view(b"a"),
            lambda: db.property("writes"),
            lambda: db.approximate_len,
            lambda: iterator.seek(b"a"),
            lambda: memoryview(pinned.obj),
            lambda: db.put(b"a", b"x"),
            lambda: db.delete(b"a"),
            lambda: db.delete_range(),
            lambda: db.pop(b"a", None),
            lambda: db.get_many([b"a"]),
            lambda: db.put_many({b"a": b"x"}),
            lambda: db.batch(),
            lambda: db.snapshot(),
            lambda: db.stats(),
            lambda: db.sync(),
            lambda: db.flush(),
            lambda: db.compact(),
            lambda: db.verify(),
            lambda: db.clear(),
            lambda: len(db),
            lambda: iter(db),
            lambda: db.__enter__(),
            lambda: snapshot[b"a"],
            lambda: len(snapshot),
            lambda: snapshot.closed,
            lambda: list(view),
            lambda: next(iterator),
            lambda: batch.put(b"a", b"x"),
            lambda: batch.delete_range(),
            lambda: batch.__exit__(None, None, None),
        ]
        for number, call in enumerate(calls):
            with pytest.raises(kvs.ForkedError, match="only the parent"):
                call()
                print("call", number, "went through", file=sys.stderr)
        assert "of the parent process" in repr(db)
        assert "of the parent process" in repr(snapshot)
        assert bytes(pinned) == b"1"
        pinned.release()
        snapshot.close()
        db.close()
        assert db.closed

    before = contents(path)
    in_child(child)
    assert contents(path) == before
    assert not db.closed
    assert next(iterator) == (b"b", b"2")
    with batch:
        pass
    assert dict(db) == {b"a": b"1", b"b": b"2", b"c": b"3"}
    snapshot.close()
    db.close()


@pytest.mark.parametrize("flushed", [False, True])
def test_memoryviews_of_the_parent(path: Path, flushed: bool) -> None:
    """A child does not inherit the log's memory: reading a view was a SIGSEGV there. It has a copy, which is its own.

    Values of many sizes, next to each other and across pages; the parent goes on to write over all of them.
    """
    db = kvs.open(path, segment_bytes_min="64k", segment_bytes_max="1m")
    wanted = {b"%d" % size: bytes([size % 251]) * size for size in (0, 1, 2, 500, 4095, 4096, 4097, 10_000, 300_000)}
    db.update(wanted)
    if flushed:
        db.flush()
    db[b"fresh"] = wanted[b"fresh"] = b"in the log"
    views = {key: db.get_view(key) for key in wanted}
    gone = db.get_view(b"500")
    gone.release()
    part = views[b"10000"][5000:5100]
    read, write = os.pipe()

    def child() -> None:
        os.read(read, 1)
        assert {key: bytes(view) for key, view in views.items()} == wanted
        assert bytes(part) == bytes([10_000 % 251]) * 100

        def grandchild() -> None:
            assert {key: bytes(view) for key, view in views.items()} == wanted

        in_child(grandchild)
        with kvs.open(in_memory=True) as own:
            own.update(views)
            assert own == wanted
        for view in list(views.values()):
            if view is not views[b"10000"]:
                view.release()
        views.clear()

    def overwrite() -> None:
        for _ in range(30):
            db.put_many((key, b"\xff" * 50_000) for key in wanted)
            db.flush()
        os.write(write, b"x")

    thread = threading.Timer(0.05, overwrite)
    thread.start()
    in_child(child)
    thread.join()
    assert {key: bytes(view) for key, view in views.items()} == wanted
    db.close()


@pytest.mark.parametrize("way", ["close", "with", "del", "exit", "os._exit", "exception"])
def test_the_end_of_the_child_touches_no_file(run: Callable[..., CompletedProcess[str]], way: str) -> None:
    """The child ends, in every way, after the parent has written more: nothing may be written over it."""
    script = """
import os, pathlib, sys
import kvs

def contents():
    return {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in pathlib.Path("store").iterdir()}

way = sys.argv[1]
db = kvs.open("store")
db[b"before"] = b"1"
snapshot, iterator = db.snapshot(), iter(db.items())
read, write = os.pipe()
child = os.fork()
if child == 0:
    os.read(read, 1)
    if way == "with":
        try:
            with db: pass
        except kvs.ForkedError: pass
    elif way == "close": db.close()
    elif way == "del": del db, snapshot, iterator
    elif way == "os._exit": os._exit(0)
    elif way == "exception": sys.stderr = None; raise SystemExit(0)
    sys.exit(0)
db[b"after"] = b"2"
db.close()
before = contents()
os.write(write, b"x")
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
after = contents()
assert before == after, "the child changed the files"
with kvs.open("store", create=False) as db:
    assert dict(db) == {b"before": b"1", b"after": b"2"}, dict(db)
"""
    result = run(script, way)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""


def test_the_child_opens_a_store_of_its_own(tmp_path: Path) -> None:
    with kvs.open(tmp_path / "parent") as db:
        db[b"k"] = b"v"

        def child() -> None:
            with kvs.open(tmp_path / "child") as own, own.snapshot() as snapshot:
                own[b"k"] = b"child"
                assert dict(own) == {b"k": b"child"}
                assert len(snapshot) == 0

                def grandchild() -> None:
                    with pytest.raises(kvs.ForkedError):
                        own[b"k"]

                in_child(grandchild)
            with pytest.raises(kvs.ForkedError):
                db[b"k"]

        in_child(child)
        assert db[b"k"] == b"v"
    with kvs.open(tmp_path / "child", create=False) as db:
        assert db[b"k"] == b"child"


def test_fork_while_other_threads_are_in_the_store(path: Path) -> None:
    """A thread that held a lock does not exist in the child: the child must not wait for it."""
    with kvs.open(path) as db:
        db.put_many((b"%05d" % n, b"x" * 100) for n in range(2000))
        shared = [iter(db.items())]
        batch = db.batch()
        done = threading.Event()

        def work(n: int) -> None:
            while not done.is_set():
                db[b"%05d" % n] = b"y"
                db.pop(b"popped", None)
                batch[b"k"] = b"v"
                if next(shared[0], None) is None:
                    shared[0] = iter(db.items())

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()

        def child() -> None:
            for call in (
                lambda: db[b"k"],
                lambda: db.pop(b"k", None),
                lambda: next(shared[0]),
                lambda: batch.put(b"k", b"v"),
                lambda: db.put(b"k", b"v"),
            ):
                with pytest.raises(kvs.ForkedError):
                    call()
            db.close()

        try:
            for _ in range(20):
                in_child(child)
        finally:
            done.set()
            for thread in threads:
                thread.join()


STORES: list[kvs.DB] = []


def use(_: int) -> str:
    try:
        return repr(STORES[0][b"k"])
    except kvs.ForkedError as error:
        return type(error).__name__


def test_multiprocessing_fork(path: Path) -> None:
    with kvs.open(path) as db:
        db[b"k"] = b"v"
        STORES[:] = [db]
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert pool.map_async(use, range(8)).get(60) == ["ForkedError"] * 8
        STORES.clear()
        assert db[b"k"] == b"v"


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_other_start_methods(run: Callable[..., CompletedProcess[str]], method: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        """
import multiprocessing, sys
import kvs

def work(name):
    with kvs.open(name) as db:
        db[b"k"] = b"v"
    return name

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    with kvs.open("parent") as db:
        db[b"k"] = b"parent"
        with context.Pool(2) as pool:
            names = pool.map(work, ["one", "two"])
        assert db[b"k"] == b"parent"
    for name in names:
        with kvs.open(name, create=False) as db:
            assert db[b"k"] == b"v"
"""
    )
    result = run("import runpy, sys; sys.argv[0] = 'program.py'; runpy.run_path('program.py', run_name='__main__')", method)
    assert result.returncode == 0, result.stderr
