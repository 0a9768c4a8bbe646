"""get_view: a value without a copy, which nothing can make dangle or change."""

import gc
import io
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from subprocess import CompletedProcess

import numpy
import pytest

import kvs

SIZES = [0, 1, 100, 4096, 100_000, 3 << 20]


def of_size(size: int) -> bytes:
    return random.Random(size).randbytes(size)


@pytest.fixture(params=["log", "tables", "tables by position"])
def filled(request: pytest.FixtureRequest, path: Path) -> kvs.DB:
    """Values in each of the places where the engine keeps them."""
    db = kvs.open(path, table_io="positioned" if "position" in request.param else None)
    db.put_many((b"%d" % size, of_size(size)) for size in SIZES)
    if request.param != "log":
        db.flush()
    return db


@pytest.mark.parametrize("size", SIZES)
def test_is_the_value(filled: kvs.DB, size: int) -> None:
    with filled, filled.snapshot() as snapshot:
        for source in filled, snapshot:
            with source.get_view(b"%d" % size) as view:
                assert type(view) is memoryview
                assert (view.nbytes, view.format, view.ndim, view.readonly, view.contiguous) == (size, "B", 1, True, True)
                assert view == of_size(size)
                with pytest.raises(TypeError):
                    view[:] = b""
            with pytest.raises(ValueError, match="released"):
                view[0]
            with pytest.raises(ValueError, match="released"):
                bytes(view)


def test_missing_and_wrong_keys(db: kvs.DB) -> None:
    with pytest.raises(KeyError) as caught:
        db.get_view(b"missing")
    assert caught.value.args == (b"missing",)
    with pytest.raises(TypeError, match="encode"):
        db.get_view("text")  # type: ignore[arg-type]


@pytest.mark.parametrize("what", ["overwrite", "delete", "clear", "compact", "close", "drop"])
def test_outlives_what_happens_to_the_store(filled: kvs.DB, what: str) -> None:
    views = {size: filled.get_view(b"%d" % size) for size in SIZES}
    if what == "overwrite":
        filled.put_many((b"%d" % size, b"\xff" * size) for size in SIZES)
    elif what == "delete":
        filled.delete_range(sync=True)
    elif what == "clear":
        filled.clear()
    elif what == "compact":
        filled.delete_range()
    elif what == "close":
        filled.close()
    if not filled.closed:
        filled.flush()
        filled.compact()
        # New segments and tables, where freed files or memory would be taken again.
        for round_ in range(4):
            filled.put_many((b"other %d" % n, b"\xee" * 10_000) for n in range(200))
            filled.flush()
    if what == "drop":
        filled = None  # type: ignore[assignment]
        gc.collect()
    for size, view in views.items():
        assert view == of_size(size), size
        assert bytes(view[1:-1]) == of_size(size)[1:-1]


def test_everything_made_of_a_view_holds_the_value(path: Path) -> None:
    db = kvs.open(path)
    db[b"k"] = of_size(8000)
    view = db.get_view(b"k")
    array, part, cast = numpy.frombuffer(view, dtype="<u4"), view[8:16], view.cast("Q")
    again = memoryview(view.obj)
    db.close()
    view.release()
    del view, db
    gc.collect()
    assert array.tobytes() == of_size(8000)
    assert not array.flags.writeable
    assert part == of_size(8000)[8:16]
    assert cast[1].to_bytes(8, "little") == of_size(8000)[8:16]
    assert again == of_size(8000)


def test_no_writable_buffer(db: kvs.DB) -> None:
    db[b"k"] = b"value"
    view = db.get_view(b"k")
    with pytest.raises((TypeError, BufferError, ValueError)):
        numpy.frombuffer(view, dtype="u1")[0] = 0
    with pytest.raises(TypeError, match="read-write"):
        io.BytesIO(b"12345").readinto(view)
    assert db[b"k"] == b"value"


def test_a_value_of_a_view_goes_into_the_store(db: kvs.DB) -> None:
    db[b"k"] = of_size(4096)
    with db.get_view(b"k") as view:
        db[b"l"] = view
        db.put_many({b"m": view[:100]})
        assert view in db.values()
    assert db[b"l"] == of_size(4096)
    assert db[b"m"] == of_size(4096)[:100]


def test_released_values_let_files_go(path: Path) -> None:
    """While it is held the file stays, and is counted; then it goes."""
    with kvs.open(path) as db:
        db[b"k"] = of_size(100_000)
        db.flush()
        view = db.get_view(b"k")
        db.delete_range()
        db.compact()
        assert db.stats()["leaving_files"] >= 1
        view.release()
        until = time.monotonic() + 30
        while db.stats()["leaving_files"] > 0 and time.monotonic() < until:
            time.sleep(0.01)
        assert db.stats()["leaving_files"] == 0


def test_threads_take_and_release_while_others_write(path: Path) -> None:
    with kvs.open(path, segment_bytes_min="64k", segment_bytes_max="64k", memtable_bytes_max="256k") as db:
        db.put_many((b"%02d" % n, bytes([n]) * 5000) for n in range(50))

        def write(seed: int) -> None:
            random_ = random.Random(seed)
            for _ in range(400):
                n = random_.randrange(50)
                db[b"%02d" % n] = bytes([n]) * 5000

        def read(seed: int) -> None:
            random_ = random.Random(seed)
            held = []
            for _ in range(1500):
                n = random_.randrange(50)
                held.append((n, db.get_view(b"%02d" % n)))
                if len(held) > 20:
                    n, view = held.pop(random_.randrange(len(held)))
                    assert view == bytes([n]) * 5000
                    if random_.random() < 0.5:
                        view.release()

        with ThreadPoolExecutor(6) as pool:
            work = [pool.submit(write, n) for n in range(2)] + [pool.submit(read, n) for n in range(4)]
            for each in work:
                each.result()


@pytest.mark.parametrize("what", ["overwrite", "compact", "close", "drop"])
def test_views_of_an_iteration(filled: kvs.DB, what: str) -> None:
    """items and values with zero_copy: each value is a view of its own, which holds as one of get_view does."""
    expected = {b"%d" % size: of_size(size) for size in SIZES}
    with filled.snapshot() as snapshot:
        for source in filled, snapshot:
            for key, view in source.items(zero_copy=True):
                assert (type(key), type(view), view.readonly, view.format) == (bytes, memoryview, True, "B")
                assert view == expected[key]
                view.release()
            assert [bytes(view) for view in source.values(zero_copy=True, reverse=True)] == [expected[key] for key in sorted(expected, reverse=True)]
    views = filled.items(zero_copy=True)
    assert len(views) == len(SIZES) and (b"100", of_size(100)) in views and (b"100", b"other") not in views
    assert of_size(100) in filled.values(zero_copy=True)
    assert [(key, bytes(view)) for key, view in filled.items(b"1", limit=1, zero_copy=True)] == [(b"1", of_size(1))]
    iterator = iter(views)
    assert iterator.seek(b"4") and next(iterator)[0] == b"4096"
    held = dict(views)
    # One that is in the middle holds what it has read ahead.
    ahead = iter(filled.values(zero_copy=True))
    first = next(ahead)
    if what == "overwrite":
        filled.put_many((b"%d" % size, b"\xff" * size) for size in SIZES)
    elif what == "compact":
        filled.delete_range()
    elif what == "close":
        filled.close()
    if not filled.closed:
        filled.flush()
        filled.compact()
        for _ in range(4):
            filled.put_many((b"other %d" % n, b"\xee" * 10_000) for n in range(200))
            filled.flush()
    if what == "drop":
        filled = views = snapshot = source = None  # type: ignore[assignment]
        gc.collect()
    assert {key: bytes(view) for key, view in held.items()} == expected
    assert first == expected[b"0"]
    rest = []
    with pytest.raises(kvs.ClosedError) if what == "close" else nullcontext():
        for view in ahead:
            rest.append(bytes(view))
    wanted = [expected[key] for key in sorted(expected)][1:]
    assert rest == (wanted[: len(rest)] if what == "close" else wanted)
    assert first == expected[b"0"]


def test_exit_with_views(run: Callable[..., CompletedProcess[str]]) -> None:
    script = "import sys, kvs\ndb = kvs.open('store'); db[b'k'] = bytes(1 << 20)\nsys.v = [db.get_view(b'k') for _ in range(10)]; w = sys.v[0][5:]; sys.i = iter(db.items(zero_copy=True)); sys.x = next(sys.i)"
    result = run(script)
    assert (result.returncode, result.stderr) == (0, "")
