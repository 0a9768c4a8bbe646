"""kvs.aio: a store for asyncio, with the names of kvs.DB.

```text
task --> gate (at most so many calls at once) --> the store's own threads --> kvs.DB, which releases the GIL
```

What a cancelled call leaves behind:

1. A call that has not begun is withdrawn: nothing happens.
2. A write that has begun is waited for before CancelledError goes on its way: it is there as a whole, and nothing of it happens
   later. What pop or popitem had taken out by then goes back, unless the key was written meanwhile.
3. A read that has begun is left to end by itself; an iterator keeps what it read for the next step, so none is lost.

A store belongs to the event loop that first waits for it.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Generator, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast, overload

import kvs as _kvs
from kvs._kvs import open as _open

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Buffer, Self

__all__ = ["DB", "Batch", "Opening", "Snapshot", "View", "ViewIterator", "open"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
_MISSING = object()


class _Calls:
    """Runs calls in threads of its own, at most `most` at once, and the rest waits in their tasks."""

    def __init__(self, threads: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="kvs.aio")
        # So that a thread finds the next call when it has ended one, and a cancelled call is not in a queue.
        self._gate = asyncio.Semaphore(2 * threads)
        self._pid = os.getpid()

    async def _submit(self, call: Callable[..., T], *args: Any, **named: Any) -> Future[T]:
        if os.getpid() != self._pid:
            # The threads stayed in the parent: a call would never end.
            raise _kvs.ForkedError("this object was made before os.fork(): only the parent may use it")
        loop = asyncio.get_running_loop()
        await self._gate.acquire()
        try:
            future = self._executor.submit(call, *args, **named)
        except RuntimeError:
            self._gate.release()
            raise _kvs.ClosedError("the store is closed; open it again") from None

        def ended(_: Future[T]) -> None:
            try:
                loop.call_soon_threadsafe(self._gate.release)
            except RuntimeError:
                pass  # The loop is closed, and nobody waits at the gate.

        future.add_done_callback(ended)
        return future

    async def read(self, call: Callable[..., T], *args: Any, **named: Any) -> T:
        """Cancelled, it leaves a call that has begun to itself."""
        future = await self._submit(call, *args, **named)
        return await asyncio.wrap_future(future)

    async def write(
        self, call: Callable[..., T], *args: Any, undo: Callable[[T], object] | None = None, **named: Any
    ) -> T:
        """Cancelled, it withdraws the call or waits for its end, and for that of `undo`, which gets the result."""
        future = await self._submit(call, *args, **named)
        waiting = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            if not future.cancel():
                await _end_of(waiting)
                if undo is not None and not waiting.cancelled() and waiting.exception() is None:
                    # Past the gate: this task's place there is used up, and it must not wait for others now.
                    await _end_of(asyncio.wrap_future(self._executor.submit(undo, waiting.result())))
            raise

    async def shut(self, close: Callable[[], None]) -> None:
        """Closes, and waits for the threads to end."""
        if os.getpid() != self._pid:
            return close()

        def work() -> None:
            close()
            self._executor.shutdown(wait=True)

        # In a thread that is none of those which are waited for.
        await _finished(asyncio.get_running_loop().run_in_executor(None, work))


async def _end_of(waiting: asyncio.Future[Any]) -> None:
    """Waits for it, whatever comes of it and however often the task is cancelled."""
    while not waiting.done():
        try:
            await asyncio.wait([waiting])
        except asyncio.CancelledError:
            continue


async def _finished(waiting: asyncio.Future[T]) -> T:
    """Waits for it; a cancellation goes on its way only when it has ended."""
    try:
        return await asyncio.shield(waiting)
    except asyncio.CancelledError:
        await _end_of(waiting)
        raise


class Opening(Generic[T]):
    """Something that opens: await it, or use it in async with, which closes it."""

    def __init__(self, begin: Callable[[], Awaitable[T]]) -> None:
        self._begin = begin
        self._opened: Any = None

    def __await__(self) -> Generator[Any, Any, T]:
        return self._begin().__await__()

    async def __aenter__(self) -> T:
        self._opened = await self._begin()
        return cast(T, self._opened)

    async def __aexit__(self, *exc_info: object) -> None:
        await self._opened.close()


def open(
    path: str | bytes | os.PathLike[str] | os.PathLike[bytes] | None = None, *, threads: int = 4, **options: Any
) -> Opening[DB]:
    """Opens a store for asyncio: `db = await kvs.aio.open(path)`, or `async with kvs.aio.open(path) as db`.

    options are those of kvs.open, but for codecs. threads: how many calls are under way at once; more wait in their tasks.

    >>> async def main():
    ...     async with kvs.aio.open(tmp / "store") as db:
    ...         await db.put(b"k", b"v")
    ...         async with db.batch() as batch:
    ...             batch[b"l"] = b"w"
    ...         return await db.get(b"k"), [key async for key in db.keys()]
    >>> asyncio.run(main())
    (b'v', [b'k', b'l'])
    """
    if threads < 1:
        raise _kvs.InvalidArgument(f"threads is {threads}, must be at least 1")

    async def begin() -> DB:
        calls = _Calls(threads)
        try:
            # As a write: a store that opens when nobody waits any more has to be closed again.
            raw = await calls.write(_open, path, undo=lambda raw: raw.close(), **options)
            if not isinstance(raw, _kvs.DB):
                raw.close()
                raise TypeError("kvs.aio has no codecs")
        except BaseException:
            calls._executor.shutdown(wait=False)
            raise
        return DB(raw, calls)

    return Opening(begin)


class _Reads:
    """Reading, the same from a store and from a snapshot."""

    raw: _kvs.DB | _kvs.Snapshot

    def __init__(self, calls: _Calls) -> None:
        self._calls = calls

    @overload
    async def get(self, key: Buffer, default: None = None) -> bytes | None: ...
    @overload
    async def get(self, key: Buffer, default: T) -> bytes | T: ...
    async def get(self, key: Buffer, default: Any = None) -> Any:
        """The value of key, or default if there is none."""
        return await self._calls.read(self.raw.get, _own(key), default)

    @overload
    async def get_many(self, keys: Iterable[Buffer], default: None = None) -> list[bytes | None]: ...
    @overload
    async def get_many(self, keys: Iterable[Buffer], default: T) -> list[bytes | T]: ...
    async def get_many(self, keys: Iterable[Buffer], default: Any = None) -> list[Any]:
        """The values of keys, in their order and from one point in time; default for those that are missing."""
        return await self._calls.read(self.raw.get_many, list(map(_own, keys)), default)

    async def get_view(self, key: Buffer) -> memoryview:
        """The value of key without a copy; see kvs.DB.get_view."""
        return await self._calls.read(self.raw.get_view, _own(key))

    async def contains(self, key: Buffer) -> bool:
        """Is there such a key?"""
        return await self._calls.read(self.raw.__contains__, _own(key))

    async def count(self) -> int:
        """The exact number of keys: walks all of them."""
        return await self._calls.read(self.raw.__len__)

    def __getitem__(self, key: Buffer) -> Awaitable[bytes]:
        """`await db[key]`: the value, or KeyError."""
        return self._calls.read(self.raw.__getitem__, _own(key))

    @overload
    def items(
        self,
        prefix: Buffer | None = None,
        *,
        start: Buffer | None = None,
        stop: Buffer | None = None,
        reverse: bool = False,
        limit: int | None = None,
        zero_copy: Literal[False] = False,
    ) -> View[tuple[bytes, bytes]]: ...
    @overload
    def items(
        self,
        prefix: Buffer | None = None,
        *,
        start: Buffer | None = None,
        stop: Buffer | None = None,
        reverse: bool = False,
        limit: int | None = None,
        zero_copy: Literal[True],
    ) -> View[tuple[bytes, memoryview]]: ...
    @overload
    def items(
        self,
        prefix: Buffer | None = None,
        *,
        start: Buffer | None = None,
        stop: Buffer | None = None,
        reverse: bool = False,
        limit: int | None = None,
        zero_copy: bool,
    ) -> View[tuple[bytes, bytes] | tuple[bytes, memoryview]]: ...
    def items(
        self,
        prefix: Buffer | None = None,
        *,
        start: Buffer | None = None,
        stop: Buffer | None = None,
        reverse: bool = False,
        limit: int | None = None,
        zero_copy: bool = False,
    ) -> View[Any]:
        """The pairs in key order, for `async for`; see kvs.DB.items."""
        return View(
            self.raw.items(prefix, start=start, stop=stop, reverse=reverse, limit=limit, zero_copy=zero_copy), self._calls
        )

    def keys(
        self,
        prefix: Buffer | None = None,
        *,
        start: Buffer | None = None,
        stop: Buffer | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> View[bytes]:
        """The keys in order, for `async for`; see kvs.DB.keys."""
        return View(self.raw.keys(prefix, start=start, stop=stop, reverse=reverse, limit=limit), self._calls)

    @overload
    def values(
        self,
        prefix: Buffer | None = None,
        *,
        start: Buffer | None = None,
        stop: Buffer | None = None,
        reverse: bool = False,
        limit: int | None = None,
        zero_copy: Literal[False] = False,
    ) -> View[bytes]: ...
    @overload
    def values(
        self,
        prefix: Buffer | None = None,
        *,
        start: Buffer | None = None,
        stop: Buffer | None = None,
        reverse: bool = False,
        limit: int | None = None,
        zero_copy: Literal[True],
    ) -> View[memoryview]: ...
    @overload
    def values(
        self,
        prefix: Buffer | None = None,
        *,
        start: Buffer | None = None,
        stop: Buffer | None = None,
        reverse: bool = False,
        limit: int | None = None,
        zero_copy: bool,
    ) -> View[bytes | memoryview]: ...
    def values(
        self,
        prefix: Buffer | None = None,
        *,
        start: Buffer | None = None,
        stop: Buffer | None = None,
        reverse: bool = False,
        limit: int | None = None,
        zero_copy: bool = False,
    ) -> View[Any]:
        """The values in the order of their keys, for `async for`; see kvs.DB.values."""
        return View(
            self.raw.values(prefix, start=start, stop=stop, reverse=reverse, limit=limit, zero_copy=zero_copy), self._calls
        )

    def __aiter__(self) -> ViewIterator[bytes]:
        return self.keys().__aiter__()

    @property
    def closed(self) -> bool:
        """Has it been closed?"""
        return self.raw.closed

    async def __aenter__(self) -> Self:
        self.raw.__enter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes it; may be called twice."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<kvs.aio.{type(self).__name__} of {self.raw!r}>"


class DB(_Reads):
    """An open store for asyncio: made by kvs.aio.open(). `raw` is the kvs.DB below, for threads."""

    def __init__(self, raw: _kvs.DB, calls: _Calls) -> None:
        super().__init__(calls)
        self.raw: _kvs.DB = raw

    @property
    def path(self) -> str | bytes | None:
        """The path that the store was opened with; see kvs.DB.path."""
        return self.raw.path

    @property
    def approximate_len(self) -> int:
        """About how many keys there are; see kvs.DB.approximate_len."""
        return self.raw.approximate_len

    async def put(self, key: Buffer, value: Buffer, *, sync: bool | None = None) -> None:
        """Sets key to value; see kvs.DB.put."""
        await self._calls.write(self.raw.put, _own(key), _own(value), sync=sync)

    async def put_many(self, items: Any, *, sync: bool | None = None) -> None:
        """Writes all pairs of a mapping, of an iterable or of an async iterable: all of them or, after an error, none."""
        await self._calls.write(self.raw.put_many, await _pairs(items), sync=sync)

    async def update(self, items: Any = (), /) -> None:
        """put_many under the name that a dict has for it."""
        await self._calls.write(self.raw.update, await _pairs(items))

    async def delete(self, key: Buffer, *, sync: bool | None = None) -> None:
        """Removes key, whether it is there or not."""
        await self._calls.write(self.raw.delete, _own(key), sync=sync)

    async def delete_range(
        self, start: Buffer | None = None, stop: Buffer | None = None, *, sync: bool | None = None
    ) -> None:
        """Removes every key between start (included) and stop (excluded); see kvs.DB.delete_range."""
        await self._calls.write(self.raw.delete_range, _own(start), _own(stop), sync=sync)

    @overload
    async def pop(self, key: Buffer) -> bytes: ...
    @overload
    async def pop(self, key: Buffer, default: T) -> bytes | T: ...
    async def pop(self, key: Buffer, default: Any = _MISSING) -> Any:
        """Removes key and returns its value; default, or KeyError, if there is none."""
        key = _own(key)

        def put_back(found: object) -> None:
            if found is not _MISSING:
                self.raw.setdefault(key, cast(bytes, found))

        found = await self._calls.write(self.raw.pop, key, _MISSING, undo=put_back)
        if found is not _MISSING:
            return found
        if default is _MISSING:
            raise KeyError(key)
        return default

    async def popitem(self) -> tuple[bytes, bytes]:
        """Removes the first pair and returns it; KeyError if there is none."""
        return await self._calls.write(self.raw.popitem, undo=lambda pair: self.raw.setdefault(*pair))

    async def setdefault(self, key: Buffer, default: Buffer) -> bytes:
        """The value of key; if there is none, default, which is written."""
        return await self._calls.write(self.raw.setdefault, _own(key), _own(default))

    async def clear(self) -> None:
        """Removes every key; not atomic: it goes in steps."""
        await self._calls.write(self.raw.clear)

    def batch(self, sync: bool | None = None) -> Batch:
        """Collects writes that become visible, and survive, together: `async with db.batch() as batch: batch[b"k"] = b"v"`."""
        return Batch(self.raw.batch(sync), self._calls)

    def snapshot(self) -> Opening[Snapshot]:
        """The store as it is now: `async with db.snapshot() as snapshot`, or `snapshot = await db.snapshot()`."""

        async def begin() -> Snapshot:
            raw = await self._calls.write(self.raw.snapshot, undo=lambda raw: raw.close())
            return Snapshot(raw, self._calls)

        return Opening(begin)

    async def sync(self) -> None:
        """Returns once every write before the call survives power loss."""
        await self._calls.read(self.raw.sync)

    async def flush(self) -> None:
        """Returns once every write before the call is in tables."""
        await self._calls.read(self.raw.flush)

    async def compact(self, start: Buffer | None = None, stop: Buffer | None = None) -> None:
        """Merges all tables with keys in a range; see kvs.DB.compact."""
        await self._calls.read(self.raw.compact, _own(start), _own(stop))

    async def stats(self) -> dict[str, Any]:
        """What the store counts about itself, by name."""
        return await self._calls.read(self.raw.stats)

    async def property(self, name: str) -> int | float:
        """One of the numbers of stats(), by its name."""
        return await self._calls.read(self.raw.property, name)

    async def verify(self) -> dict[str, int]:
        """Reads every byte of the store and checks it."""
        return await self._calls.read(self.raw.verify)

    def interrupt(self) -> None:
        """Ends what takes long or waits, in other tasks too; see kvs.DB.interrupt. Nothing is awaited: it is for when they are in the way."""
        self.raw.interrupt()

    async def close(self) -> None:
        """Closes the store: calls that have begun end, later ones raise ClosedError. May be called twice."""
        await self._calls.shut(self.raw.close)


class Snapshot(_Reads):
    """The store as it was at one point in time. `raw` is the kvs.Snapshot below."""

    def __init__(self, raw: _kvs.Snapshot, calls: _Calls) -> None:
        super().__init__(calls)
        self.raw: _kvs.Snapshot = raw

    async def close(self) -> None:
        """Lets go of the old values. May be called twice; later reads raise ClosedError."""
        # A moment, and not one that a closed store may refuse.
        self.raw.close()


class Batch:
    """Writes that become visible, and survive, together or not at all; they are collected in memory, so nothing is awaited."""

    def __init__(self, raw: _kvs.Batch, calls: _Calls) -> None:
        self.raw = raw
        self._calls = calls

    def put(self, key: Buffer, value: Buffer) -> None:
        """Sets key to value."""
        self.raw.put(key, value)

    def delete(self, key: Buffer) -> None:
        """Removes key, whether it is there or not."""
        self.raw.delete(key)

    def delete_range(self, start: Buffer | None = None, stop: Buffer | None = None) -> None:
        """Removes every key between start (included) and stop (excluded)."""
        self.raw.delete_range(start, stop)

    __setitem__ = put
    __delitem__ = delete

    def __len__(self) -> int:
        return len(self.raw)

    async def __aenter__(self) -> Self:
        self.raw.__enter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_type is None:
            await self._calls.write(self.raw.__exit__, None, None, None)
        else:
            self.raw.__exit__(exc_type, exc, traceback)

    def __repr__(self) -> str:
        return f"<kvs.aio.Batch of {self.raw!r}>"


class View(Generic[T_co]):
    """Entries in key order, read when they are iterated over; each `async for` sees the store as it is when it begins."""

    def __init__(self, raw: _kvs.View[T_co], calls: _Calls) -> None:
        self.raw = raw
        self._calls = calls

    def __aiter__(self) -> ViewIterator[T_co]:
        return ViewIterator(self.raw, self._calls)

    async def count(self) -> int:
        """Counts the entries: walks all of them."""
        return await self._calls.read(self.raw.__len__)

    async def to_list(self) -> list[T_co]:
        """All entries."""
        return await self._calls.read(list, self.raw)


class ViewIterator(AsyncIterator[T_co]):
    """One iteration over a view: each crossing into a thread brings many entries. Tasks may share it."""

    _FIRST = 64
    _MOST = 1024

    def __init__(self, view: _kvs.View[T_co], calls: _Calls) -> None:
        self._view = view
        self._calls = calls
        self._entries: _kvs.ViewIterator[T_co] | None = None
        self._ready: deque[T_co] = deque()
        self._chunk = self._FIRST
        # The crossing that is under way. It outlives the task that began it, so nothing it reads is lost.
        self._reading: asyncio.Task[list[T_co]] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T_co:
        while not self._ready:
            if not await self._more():
                raise StopAsyncIteration
        return self._ready.popleft()

    async def _more(self) -> bool:
        """Reads on, unless that is under way already. Is there anything?"""
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._calls.read(self._read, self._chunk))
            # If nobody waits for it any more, nobody asks for its error.
            self._reading.add_done_callback(lambda reading: reading.cancelled() or reading.exception())
            self._chunk = min(2 * self._chunk, self._MOST)
        reading = self._reading
        try:
            await asyncio.shield(reading)
        except asyncio.CancelledError:
            if not reading.cancelled():
                raise
            # What began it was cancelled together with its loop.
            self._reading = None
            raise
        except BaseException:
            if self._reading is reading:
                self._reading = None
            raise
        if self._reading is reading:
            self._reading = None
            self._ready.extend(reading.result())
        return bool(reading.result())

    def _read(self, count: int) -> list[T_co]:
        if self._entries is None:
            self._entries = iter(self._view)
        chunk: list[T_co] = []
        try:
            chunk.extend(islice(self._entries, count))
        except _kvs.Error:
            # What came before it is handed out first; an iterator raises its error again.
            if not chunk:
                raise
        return chunk

    async def seek(self, key: Buffer) -> bool:
        """Moves to the first entry at key or behind it; see kvs.ViewIterator.seek. What was read ahead counts for limit."""
        while self._reading is not None:
            await self._more()
        self._ready.clear()
        self._chunk = self._FIRST

        def work(key: bytes) -> bool:
            if self._entries is None:
                self._entries = iter(self._view)
            return self._entries.seek(key)

        return await self._calls.write(work, _own(key))


def _own(data: Any) -> Any:
    """Bytes that nobody changes while a thread reads them. What is no buffer is for the call to refuse."""
    if data is None or isinstance(data, (bytes, str)):
        return data
    try:
        return memoryview(data).tobytes()
    except TypeError:
        return data


async def _pairs(items: Any) -> Any:
    """As a list, so that the thread which writes them runs no code of the caller."""
    if isinstance(items, (_kvs.DB, _kvs.Snapshot)):
        return items
    if isinstance(items, (DB, Snapshot)):
        return items.raw
    if isinstance(items, AsyncIterable):
        return [pair async for pair in items]
    if isinstance(items, Mapping):
        return list(items.items())
    if hasattr(items, "keys"):
        return [(key, items[key]) for key in items.keys()]
    return list(items)
