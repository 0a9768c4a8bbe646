"""kvs.aio: the same names, awaitable; cancellation loses nothing and half-applies nothing."""

import asyncio
import doctest
import gc
import inspect
import os
import random
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, TypeVar

import pytest

import kvs

T = TypeVar("T")


def run_async(work: Coroutine[Any, Any, T], seconds: float = 60) -> T:
    """In a loop of its own, where what nobody asked about is an error, and a hang a failure."""
    complaints: list[Any] = []

    async def main() -> T:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        return await asyncio.wait_for(work, seconds)

    result = asyncio.run(main())
    gc.collect()
    assert not complaints
    return result


def test_the_same_names() -> None:
    """Whatever a DB has, the other has too, but for what an operator cannot await."""
    for class_, other in (kvs.DB, kvs.aio.DB), (kvs.Snapshot, kvs.aio.Snapshot), (kvs.Batch, kvs.aio.Batch):
        public = {name for name in dir(class_) if not name.startswith("_")}
        assert public <= set(dir(other)), class_


def test_docstrings(tmp_path: Path) -> None:
    things: list[Any] = [kvs.aio, *(getattr(kvs.aio, name) for name in kvs.aio.__all__)]
    for thing in things:
        assert inspect.getdoc(thing), thing
        if inspect.isclass(thing):
            for name, member in vars(thing).items():
                assert name.startswith("_") or inspect.getdoc(member), (thing, name)
    finder = doctest.DocTestFinder(exclude_empty=False)
    tests = finder.find(kvs.aio, globs={"kvs": kvs, "asyncio": asyncio, "tmp": tmp_path})
    assert sum(len(test.examples) for test in tests) >= 2
    for test in tests:
        output: list[str] = []
        assert doctest.DocTestRunner().run(test, out=output.append).failed == 0, "".join(output)


def test_the_whole_interface(path: Path) -> None:
    async def main() -> None:
        async with kvs.aio.open(path, memtable_bytes_max="64m") as db:
            await db.put(b"a", b"1")
            await db.put(bytearray(b"b"), memoryview(b"2"), sync=True)
            assert await db.get(b"a") == await db[b"a"] == b"1"
            assert await db.get(b"x") is None and await db.get(b"x", 5) == 5
            assert await db.contains(b"a") and not await db.contains(b"x")
            assert await db.get_many([b"a", b"x"], b"") == [b"1", b""]
            await db.put_many({b"c": b"3"}, sync=False)
            await db.put_many(iter([(b"d", b"4")]))

            async def pairs() -> AsyncIterator[tuple[bytes, bytes]]:
                for n in range(3):
                    await asyncio.sleep(0)
                    yield b"n%d" % n, b"x"

            await db.put_many(pairs())
            await db.update({b"e": b"5"})
            await db.update()
            assert await db.count() == 8
            assert [(key, bytes(view)) async for key, view in db.items(b"a", zero_copy=True)] == [(b"a", b"1")]
            assert [bytes(view) async for view in db.values(start=b"d", limit=2, zero_copy=True)] == [b"4", b"5"]
            db.interrupt()
            assert await db.setdefault(b"f", b"6") == b"6"
            assert await db.pop(b"f") == b"6"
            assert await db.pop(b"f", None) is None
            for missing in db[b"f"], db.pop(b"f"):
                with pytest.raises(KeyError) as caught:
                    await missing
                assert caught.value.args == (b"f",)
            assert await db.popitem() == (b"a", b"1")
            assert [pair async for pair in db.items(stop=b"e")] == [(b"b", b"2"), (b"c", b"3"), (b"d", b"4")]
            assert [key async for key in db.keys(b"n", reverse=True, limit=2)] == [b"n2", b"n1"]
            assert [value async for value in db.values(start=b"d", stop=b"f")] == [b"4", b"5"]
            assert await db.keys(b"n").count() == 3
            assert await db.keys(b"n").to_list() == [b"n0", b"n1", b"n2"]
            assert [key async for key in db][:2] == [b"b", b"c"]
            iterator = db.keys().__aiter__()
            assert await iterator.seek(b"d0") and await anext(iterator) == b"e"
            async with db.snapshot() as snapshot:
                await db.delete(b"b")
                await db.delete_range(b"n0", b"n2")
                assert await snapshot.get(b"b") == b"2" and await snapshot.count() == 7
                assert await db.get(b"b") is None
            assert snapshot.closed
            with pytest.raises(kvs.ClosedError):
                await snapshot.get(b"b")
            held = await db.snapshot()
            assert await held[b"n2"] == b"x"
            await held.close()
            async with db.batch() as batch:
                batch[b"p"], batch[b"q"] = b"1", b"2"
                batch.delete(b"c")
                del batch[b"d"]
                batch.delete_range(b"n2", b"n3")
                assert len(batch) == 5
            with pytest.raises(ZeroDivisionError):
                async with db.batch(sync=True) as batch:
                    batch.put(b"lost", b"")
                    1 / 0
            assert [key async for key in db.keys()] == [b"e", b"p", b"q"]
            with await db.get_view(b"p") as view:
                assert bytes(view) == b"1"
            await db.sync()
            await db.flush()
            await db.compact()
            await db.compact(b"a", b"b")
            assert (await db.verify())["records"] >= 3
            assert (await db.stats())["writes"] == await db.property("writes")
            assert db.approximate_len >= 3
            assert db.path == str(path) and not db.closed
            assert repr(db) == f"<kvs.aio.DB of {db.raw!r}>"
            await db.clear()
            assert await db.count() == 0
        assert db.closed
        await db.close()
        for call in (db.get(b"k"), db.put(b"k", b"v"), db.count(), db.stats(), anext(aiter(db.keys())), db.snapshot().__aenter__()):
            with pytest.raises(kvs.ClosedError):
                await call
        with pytest.raises(kvs.ClosedError):
            db.batch()

    run_async(main())


def test_errors_come_out(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(kvs.NotADatabaseError):
            await kvs.aio.open(tmp_path / "missing", create=False)
        with pytest.raises(kvs.InvalidArgument):
            kvs.aio.open(tmp_path / "store", threads=0)
        with pytest.raises(TypeError, match="no codecs"):
            await kvs.aio.open(tmp_path / "typed", codec="json")
        async with kvs.aio.open(in_memory=True) as db:
            for call in (
                db.get("text"),  # type: ignore[call-overload]
                db.put(b"k", 5),  # type: ignore[arg-type]
                db.put_many([(b"k",)]),
                db.get_many([5]),  # type: ignore[list-item]
            ):
                with pytest.raises(TypeError):
                    await call
            with pytest.raises(ZeroDivisionError):
                await db.put_many((b"k", b"%d" % (1 // n)) for n in (1, 0))
            assert await db.count() == 0
            with pytest.raises(kvs.InternalError):
                from kvs import _kvs

                await db._calls.read(_kvs._panic, "boom")

    run_async(main())


def test_the_loop_goes_on_while_the_store_works(path: Path) -> None:
    async def main() -> None:
        async with kvs.aio.open(path) as db:
            await db.put_many((b"%06d" % n, b"x" * 100) for n in range(100_000))
            ticks = 0
            work = asyncio.ensure_future(db.count())
            while not work.done():
                await asyncio.sleep(0)
                ticks += 1
            assert await work == 100_000
            assert ticks > 3

    run_async(main())


def test_many_tasks(path: Path) -> None:
    async def main() -> None:
        async with kvs.aio.open(path, threads=3) as db:

            async def work(task: int) -> None:
                for n in range(20):
                    key = b"%d-%d" % (task, n)
                    await db.put(key, key * 3)
                    assert await db.get(key) == key * 3
                    if n % 5 == 0:
                        async with db.batch() as batch:
                            for m in range(5):
                                batch[b"batch %d" % m] = b"%d" % task
                        async with db.snapshot() as snapshot:
                            assert len({value async for value in snapshot.values(b"batch ")}) == 1

            await asyncio.gather(*map(work, range(100)))
            assert await db.count() == 100 * 20 + 5
            names = {thread.name for thread in threading.enumerate() if thread.name.startswith("kvs.aio")}
            assert len(names) <= 3
        assert not any(thread.name.startswith("kvs.aio") for thread in threading.enumerate()), "close waits for the threads"

    run_async(main())


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 5000])
def test_iteration(count: int) -> None:
    async def main() -> None:
        async with kvs.aio.open(in_memory=True) as db:
            await db.put_many((b"%05d" % n, b"%d" % n) for n in range(count))
            assert [pair async for pair in db.items()] == [(b"%05d" % n, b"%d" % n) for n in range(count)]
            iterator = db.keys(limit=100).__aiter__()
            await db.clear()
            assert [key async for key in iterator] == [], "begins with the first step"
            with pytest.raises(StopAsyncIteration):
                await anext(iterator)

    run_async(main())


def test_an_iteration_sees_one_point_in_time() -> None:
    async def main() -> None:
        async with kvs.aio.open(in_memory=True) as db:
            await db.put_many((b"%05d" % n, b"old") for n in range(3000))
            iterator = aiter(db.values())
            seen = [await anext(iterator)]
            await db.put_many((b"%05d" % n, b"new") for n in range(4000))
            seen += [value async for value in iterator]
            assert seen == [b"old"] * 3000

    run_async(main())


def test_tasks_share_an_iterator() -> None:
    async def main() -> None:
        async with kvs.aio.open(in_memory=True) as db:
            keys = [b"%05d" % n for n in range(5000)]
            await db.put_many((key, b"") for key in keys)
            iterator = aiter(db.keys())

            async def take() -> list[bytes]:
                return [key async for key in iterator]

            parts = await asyncio.gather(*(take() for _ in range(8)))
            assert sorted(key for part in parts for key in part) == keys

    run_async(main())


def test_an_iterator_gives_what_it_read_before_an_error() -> None:
    async def main() -> None:
        async with kvs.aio.open(in_memory=True) as db:
            keys = [b"%05d" % n for n in range(3000)]
            await db.put_many((key, b"") for key in keys)
            iterator, seen = aiter(db.keys()), []
            seen.append(await anext(iterator))
            db.raw.close()
            with pytest.raises(kvs.ClosedError):
                async for key in iterator:
                    seen.append(key)
            with pytest.raises(kvs.ClosedError):
                await anext(iterator)
            assert seen == keys[: len(seen)]

    run_async(main())


def test_an_iterator_gives_what_stands_before_damage(path: Path) -> None:
    """The error is met in the middle of a chunk; what was read of the chunk comes first."""
    with kvs.open(path) as db:
        db.put_many((b"%05d" % n, b"value %05d" % n * 20) for n in range(2000))
        db.flush()
    table = max((file for file in path.iterdir() if file.is_file()), key=lambda file: file.stat().st_size)
    content = bytearray(table.read_bytes())
    at = content.find(b"value 00300")
    content[at : at + 10] = bytes(10)
    table.write_bytes(content)

    async def main() -> None:
        async with kvs.aio.open(path) as db:
            wanted, seen = [], []
            with pytest.raises(kvs.CorruptionError):
                for pair in db.raw.items():
                    wanted.append(pair)
            iterator = aiter(db.items())
            for _ in range(2):
                with pytest.raises(kvs.CorruptionError):
                    async for pair in iterator:
                        seen.append(pair)
            assert len(wanted) > 200
            assert seen == wanted

    run_async(main())


async def cancel_at_random(begin: Callable[[], Awaitable[object]], random_: random.Random) -> bool:
    """Begins a call and cancels it somewhere. Was it cancelled?"""
    task = asyncio.ensure_future(begin())
    match random_.randrange(4):
        case 0:
            pass
        case 1:
            await asyncio.sleep(0)
        case 2:
            for _ in range(random_.randrange(6)):
                await asyncio.sleep(0)
        case 3:
            await asyncio.sleep(random_.random() * 0.0005)
    task.cancel()
    try:
        await task
        return False
    except asyncio.CancelledError:
        return True


@pytest.mark.parametrize("seed", range(3))
def test_cancelled_writes_are_whole_or_nothing(path: Path, seed: int) -> None:
    """And settled when the call returns: what a cancelled write did is never seen to change later."""
    random_ = random.Random(seed)
    cancelled = 0

    async def main() -> None:
        nonlocal cancelled
        async with kvs.aio.open(path, threads=2) as db:
            for round_ in range(150):
                keys = [b"%d-%d" % (round_, n) for n in range(20)]

                async def batch() -> None:
                    async with db.batch() as batch:
                        for key in keys:
                            batch[key] = b"x" * 500

                begin = random_.choice([batch, lambda: db.put_many((key, b"y") for key in keys)])
                noise = [asyncio.ensure_future(db.put(b"noise", b"x" * 1000)) for _ in range(random_.choice([0, 6]))]
                was_cancelled = await cancel_at_random(begin, random_)
                cancelled += was_cancelled
                found = len(db.raw.keys(b"%d-" % round_))
                assert found in ((0, 20) if was_cancelled else (20,))
                await asyncio.gather(*noise)
                assert len(db.raw.keys(b"%d-" % round_)) == found

    run_async(main())
    assert 10 < cancelled


@pytest.mark.parametrize("name", ["pop", "popitem"])
def test_cancelled_pops_lose_nothing(path: Path, name: str) -> None:
    random_ = random.Random(1)

    async def main() -> None:
        async with kvs.aio.open(path, threads=2) as db:
            wanted = {b"%03d" % n: b"value %d" % n for n in range(150)}
            await db.update(wanted)
            got: dict[bytes, bytes] = {}

            async def pop() -> None:
                if name == "popitem":
                    key, value = await db.popitem()
                else:
                    key = random_.choice(sorted(set(wanted) - set(got)))
                    value = await db.pop(key)
                got[key] = value

            cancelled = 0
            while len(got) < 100:
                cancelled += await cancel_at_random(pop, random_)
                assert {**dict(db.raw), **got} == wanted
                assert not set(db.raw) & set(got)
            assert cancelled > 5

    run_async(main())


def test_cancelled_steps_lose_no_entry() -> None:
    random_ = random.Random(2)

    async def main() -> None:
        async with kvs.aio.open(in_memory=True) as db:
            keys = [b"%05d" % n for n in range(5000)]
            await db.put_many((key, b"") for key in keys)
            iterator, seen = aiter(db.keys()), []

            async def step() -> None:
                seen.append(await anext(iterator))

            cancelled = 0
            for _ in range(3000):
                cancelled += await cancel_at_random(step, random_)
            assert cancelled > 100
            seen += [key async for key in iterator]
            assert seen == keys

    run_async(main())


def test_a_call_that_waits_is_withdrawn(path: Path) -> None:
    """Behind calls that take long nothing has begun, so nothing happens."""

    async def main() -> None:
        async with kvs.aio.open(path, threads=1) as db:
            gate = threading.Event()
            blocking = [asyncio.ensure_future(db._calls.read(gate.wait)) for _ in range(4)]
            await asyncio.sleep(0.05)
            for _ in range(2):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(db.put(b"k", b"v"), 0.05)
            gate.set()
            await asyncio.gather(*blocking)
            await db.sync()
            assert await db.count() == 0

    run_async(main())


def test_a_cancelled_open_leaves_nothing_open(path: Path) -> None:
    random_ = random.Random(3)

    async def main() -> None:
        for _ in range(40):
            opened: list[kvs.aio.DB] = []

            async def begin() -> None:
                opened.append(await kvs.aio.open(path))

            if not await cancel_at_random(begin, random_):
                await opened[0].close()
            kvs.open(path).close()

    run_async(main())


def test_cancelled_reads_and_a_close(path: Path) -> None:
    async def main() -> None:
        async with kvs.aio.open(path) as db:
            await db.put_many((b"%06d" % n, b"x" * 100) for n in range(50_000))
            tasks = [asyncio.ensure_future(db.count()) for _ in range(20)]
            await asyncio.sleep(0.001)
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert any(isinstance(result, asyncio.CancelledError) for result in results)
            assert await db.get(b"000001") == b"x" * 100

    run_async(main())


def test_close_while_tasks_work(path: Path) -> None:
    async def main() -> None:
        db = await kvs.aio.open(path)
        await db.put_many((b"%06d" % n, b"x" * 100) for n in range(5000))

        async def work(n: int) -> None:
            with pytest.raises(kvs.ClosedError):
                while True:
                    if n % 2:
                        await db.put(b"%d" % n, b"v")
                    else:
                        [key async for key in db.keys()]

        tasks = [asyncio.ensure_future(work(n)) for n in range(10)]
        await asyncio.sleep(0.05)
        await db.close()
        await asyncio.gather(*tasks)
        kvs.open(path).close()

    run_async(main())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_fork(run: Callable[..., CompletedProcess[str]]) -> None:
    """The threads stay behind: a call would wait for ever, so it is refused."""
    script = """
import asyncio, os, sys, kvs

async def use(db):
    try:
        await asyncio.wait_for(db.get(b"k"), 10)
    except kvs.ForkedError:
        await db.close()
        return 0
    return 1

async def main():
    global db
    db = await kvs.aio.open("store")
    await db.put(b"k", b"v")

loop = asyncio.new_event_loop()
loop.run_until_complete(main())
child = os.fork()
if child == 0:
    os._exit(asyncio.new_event_loop().run_until_complete(use(db)))
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert loop.run_until_complete(db.get(b"k")) == b"v"
loop.run_until_complete(db.close())
loop.close()
"""
    result = run(script)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("way", ["open", "reading", "iterating"])
def test_exit_without_close(run: Callable[..., CompletedProcess[str]], tmp_path: Path, way: str) -> None:
    script = """
import asyncio, sys, kvs
async def main():
    global db, iterator
    db = await kvs.aio.open("store")
    await db.put_many((b"%05d" % n, b"v") for n in range(5000))
    if sys.argv[1] == "reading":
        for _ in range(20):
            asyncio.ensure_future(db.count())
        await asyncio.sleep(0)
    if sys.argv[1] == "iterating":
        iterator = aiter(db.keys())
        await anext(iterator)
asyncio.run(main())
"""
    result = run(script, way)
    assert (result.returncode, result.stderr) == (0, "")
    with kvs.open(tmp_path / "store", create=False) as db:
        assert len(db) == 5000
