"""kvs over its C interface, with nothing but ctypes: one file, no build. It needs libkvs and a Python from 3.9 on.

>>> import kvs_ctypes
>>> with kvs_ctypes.open(tmp / "fruit") as db:
...     db[b"apple"] = b"red"
...     db.put(b"banana", b"yellow", sync=True)
...     with db.batch() as batch:
...         batch.put(b"cherry", b"red")
...         batch.delete(b"apple")
...     db.get(b"apple"), list(db.items(start=b"b", reverse=True))
(None, [(b'cherry', b'red'), (b'banana', b'yellow')])

The library is found by, in this order: the argument `library` of open() (a path, or a Library), the environment variable KVS_LIBRARY,
the system's loader.

How it is made, for those who write the same for another language:

1.  FUNCTIONS has the prototype of every function of kvs.h, and the structs below its structs. A test compares all of them with the header.
2.  Foreign calls are what costs (a few hundred nanoseconds each), so a get is one call into a buffer that was there before, a scan
    is one call for many entries (kvs_iter_fill), and put_many packs its writes and hands them over at once.
3.  Nothing that is borrowed from the library outlives its owner. What an iterator stands on is copied while a lock keeps other threads
    off it. A view of a pinned value owns the pin. Reports, results and errors are copied out and freed before anybody sees them.
4.  A handle is a value that the library looks up. Used after it was freed it gives BadHandleError, in a forked child ForkedError.
5.  Errors are exceptions: each status has its class, which is also the ValueError, OSError or RuntimeError that programs
    catch. A missing key is None, or KeyError from db[key].

Threads: Database, Snapshot and Library may be used by any number of threads; the calls run without the GIL. Iterator and Batch
are for one at a time, which is checked: ConcurrentError.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import threading
import weakref
from ctypes import POINTER, byref, c_char, c_char_p, c_int32, c_size_t, c_uint32, c_uint64, c_void_p
from typing import Any, Callable, Dict, Iterable, Iterator as Iterating, List, NamedTuple, Optional, Tuple, Type, Union

__all__ = [
    "BadHandleError", "Batch", "BufferTooSmallError", "ClosedError", "ConcurrentError", "CorruptionError", "Database", "Error",
    "ForkedError", "InternalError", "InterruptedError", "InvalidArgument", "IoError", "Iterator", "LeftOut", "Library", "LockedError",
    "NewerFormatError", "NoMemoryError", "NoSpaceError", "NotADatabaseError", "OptionInfo", "PoisonedError", "ReadOnlyError",
    "ReentrantError", "Report", "Snapshot", "TooLargeError", "Verified", "WouldBlockError", "open", "repair",
]  # fmt: skip

ABI_VERSION = 0

# Statuses. What is not negative is no error.
OK, NOT_FOUND, END, CONFLICT = 0, 1, 2, 3
E_BUFFER = -6

# Flags.
SYNC, NO_WAIT, REVERSE = 1, 2, 4

# Kinds of packed writes.
PACKED_PUT, PACKED_DELETE, PACKED_DELETE_RANGE, PACKED_DELETE_FROM = 1, 2, 3, 4

# Levels of events, for hooks.
LOG_INFO, LOG_WARNING, LOG_ERROR = 1, 2, 3

DURABILITY = {"none": 0, "process": 1, "sync": 2}

Bytes = Union[bytes, bytearray, memoryview]
Bound = Optional[Bytes]
Hook = Callable[[int, str], Any]


# Handles: distinct types, so that ctypes refuses one in the place of another. Their values are not addresses.


class kvs_db(c_void_p):
    pass


class kvs_options(c_void_p):
    pass


class kvs_batch(c_void_p):
    pass


class kvs_snapshot(c_void_p):
    pass


class kvs_iter(c_void_p):
    pass


class kvs_error(c_void_p):
    pass


class kvs_pin(c_void_p):
    pass


class kvs_results(c_void_p):
    pass


class kvs_report(c_void_p):
    pass


# Structs, field by field as in the header.


class kvs_stats(ctypes.Structure):
    _fields_ = [
        (name, c_uint64)
        for name in (
            "writes commits user_bytes_written log_bytes_written flush_bytes_written merge_bytes_written merge_bytes_read syncs "
            "rotations segments_refilled flushes merges merge_steps tables_written_over stalls stall_nanos delays delay_nanos iterators "
            "records_skipped visible_seq durable_seq flushed_seq index_keys covered_tables snapshots oldest_snapshot_seq "
            "oldest_snapshot_age_millis snapshot_held_bytes range_deletes segments log_bytes log_bytes_allocated runs tables "
            "table_bytes dead_bytes leaving_files leaving_bytes old_table_bytes reserve_bytes index_bytes order_bytes fence_bytes cache_bytes "
            "cache_hits cache_misses poisoned merges_stopped"
        ).split()
    ]


class kvs_verified(ctypes.Structure):
    _fields_ = [(name, c_uint64) for name in ("files", "records", "bytes")]


class kvs_repaired(ctypes.Structure):
    _fields_ = [(name, c_uint64) for name in ("keys", "bytes", "files", "left_out", "warnings")]


class kvs_left_out(ctypes.Structure):
    _fields_ = [
        ("file", c_char_p),
        ("from", c_uint64),
        ("to", c_uint64),
        ("why", c_char_p),
        ("keys", c_uint64),
        ("low", c_void_p),
        ("low_len", c_size_t),
        ("high", c_void_p),
        ("high_len", c_size_t),
        ("records", c_uint64),
        ("first_sequence", c_uint64),
        ("last_sequence", c_uint64),
    ]


kvs_log_fn = ctypes.CFUNCTYPE(None, c_void_p, c_int32, c_void_p, c_size_t)
kvs_free_fn = ctypes.CFUNCTYPE(None, c_void_p)

# Prototypes: what a function returns, and what it takes. Bytes that go in are c_char_p, which takes a bytes object as it is, zeros
# and all, and None; bytes that come out are addresses.
_err = POINTER(kvs_error)
_in = (c_char_p, c_size_t)
_out_bytes = (POINTER(c_void_p), POINTER(c_size_t))
_reader = (kvs_db, kvs_snapshot)

FUNCTIONS: Dict[str, Tuple[Any, Tuple[Any, ...]]] = {
    "kvs_version": (c_char_p, ()),
    "kvs_version_number": (c_uint32, ()),
    "kvs_abi_version": (c_uint32, ()),
    "kvs_status_name": (c_char_p, (c_int32,)),
    "kvs_error_code": (c_int32, (kvs_error,)),
    "kvs_error_os": (c_int32, (kvs_error,)),
    "kvs_error_message": (c_char_p, (kvs_error,)),
    "kvs_error_free": (None, (kvs_error,)),
    "kvs_options_new": (c_int32, (POINTER(kvs_options),)),
    "kvs_options_set": (c_int32, (kvs_options, c_char_p, c_char_p, _err)),
    "kvs_options_set_create": (c_int32, (kvs_options, c_uint32, _err)),
    "kvs_options_set_read_only": (c_int32, (kvs_options, c_uint32, _err)),
    "kvs_options_set_in_memory": (c_int32, (kvs_options, c_uint32, _err)),
    "kvs_options_set_durability": (c_int32, (kvs_options, c_uint32, _err)),
    "kvs_options_set_cache_bytes": (c_int32, (kvs_options, c_uint64, _err)),
    "kvs_options_set_memory_bytes_max": (c_int32, (kvs_options, c_uint64, _err)),
    "kvs_options_set_memtable_bytes_max": (c_int32, (kvs_options, c_uint64, _err)),
    "kvs_options_set_log": (c_int32, (kvs_options, kvs_log_fn, c_void_p, kvs_free_fn, _err)),
    "kvs_option_count": (c_size_t, ()),
    "kvs_option_info": (c_int32, (c_size_t, POINTER(c_char_p), POINTER(c_char_p), POINTER(c_char_p))),
    "kvs_options_free": (None, (kvs_options,)),
    "kvs_open": (c_int32, (c_char_p, kvs_options, POINTER(kvs_db), _err)),
    "kvs_close": (c_int32, (kvs_db, _err)),
    "kvs_free_db": (None, (kvs_db,)),
    "kvs_put": (c_int32, (kvs_db, *_in, *_in, c_uint32, _err)),
    "kvs_delete": (c_int32, (kvs_db, *_in, c_uint32, _err)),
    "kvs_delete_range": (c_int32, (kvs_db, *_in, *_in, c_uint32, _err)),
    "kvs_get_into": (c_int32, (*_reader, *_in, c_void_p, c_size_t, POINTER(c_size_t), _err)),
    "kvs_get": (c_int32, (*_reader, *_in, *_out_bytes, _err)),
    "kvs_free": (None, (c_void_p,)),
    "kvs_contains": (c_int32, (*_reader, *_in, _err)),
    "kvs_sync": (c_int32, (kvs_db, c_uint32, _err)),
    "kvs_flush": (c_int32, (kvs_db, c_uint32, _err)),
    "kvs_compact": (c_int32, (kvs_db, *_in, *_in, c_uint32, _err)),
    "kvs_interrupt": (c_int32, (kvs_db, _err)),
    "kvs_get_pinned": (c_int32, (*_reader, *_in, POINTER(kvs_pin), *_out_bytes, _err)),
    "kvs_pin_data": (c_int32, (kvs_pin, *_out_bytes)),
    "kvs_pin_free": (None, (kvs_pin,)),
    "kvs_multi_get": (c_int32, (*_reader, *_in, POINTER(c_size_t), c_size_t, POINTER(kvs_results), _err)),
    "kvs_results_count": (c_size_t, (kvs_results,)),
    "kvs_results_get": (c_int32, (kvs_results, c_size_t, *_out_bytes)),
    "kvs_results_free": (None, (kvs_results,)),
    "kvs_get_stats": (c_int32, (kvs_db, POINTER(kvs_stats), c_size_t, _err)),
    "kvs_property": (c_int32, (kvs_db, c_char_p, *_out_bytes, _err)),
    "kvs_verify": (c_int32, (kvs_db, c_uint32, POINTER(kvs_verified), c_size_t, _err)),
    "kvs_repair": (c_int32, (c_char_p, c_char_p, kvs_options, POINTER(kvs_report), _err)),
    "kvs_report_summary": (c_int32, (kvs_report, POINTER(kvs_repaired), c_size_t)),
    "kvs_report_text": (c_int32, (kvs_report, POINTER(c_char_p))),
    "kvs_report_left_out": (c_int32, (kvs_report, c_size_t, POINTER(kvs_left_out), c_size_t)),
    "kvs_report_warning": (c_int32, (kvs_report, c_size_t, POINTER(c_char_p))),
    "kvs_report_free": (None, (kvs_report,)),
    "kvs_batch_new": (c_int32, (POINTER(kvs_batch),)),
    "kvs_batch_put": (c_int32, (kvs_batch, *_in, *_in)),
    "kvs_batch_delete": (c_int32, (kvs_batch, *_in)),
    "kvs_batch_delete_range": (c_int32, (kvs_batch, *_in, *_in)),
    "kvs_batch_append_packed": (c_int32, (kvs_batch, *_in, _err)),
    "kvs_batch_bytes": (c_size_t, (kvs_batch,)),
    "kvs_batch_count": (c_size_t, (kvs_batch,)),
    "kvs_batch_clear": (c_int32, (kvs_batch,)),
    "kvs_write": (c_int32, (kvs_db, kvs_batch, c_uint32, _err)),
    "kvs_batch_free": (None, (kvs_batch,)),
    "kvs_snapshot_new": (c_int32, (kvs_db, POINTER(kvs_snapshot), _err)),
    "kvs_snapshot_sequence": (c_int32, (kvs_snapshot, POINTER(c_uint64), _err)),
    "kvs_snapshot_free": (None, (kvs_snapshot,)),
    "kvs_iter_new": (c_int32, (*_reader, *_in, *_in, c_uint32, POINTER(kvs_iter), _err)),
    "kvs_iter_new_prefix": (c_int32, (*_reader, *_in, c_uint32, POINTER(kvs_iter), _err)),
    "kvs_iter_first": (c_int32, (kvs_iter, _err)),
    "kvs_iter_last": (c_int32, (kvs_iter, _err)),
    "kvs_iter_next": (c_int32, (kvs_iter, _err)),
    "kvs_iter_prev": (c_int32, (kvs_iter, _err)),
    "kvs_iter_seek": (c_int32, (kvs_iter, *_in, _err)),
    "kvs_iter_seek_for_prev": (c_int32, (kvs_iter, *_in, _err)),
    "kvs_iter_item": (c_int32, (kvs_iter, *_out_bytes, *_out_bytes)),
    "kvs_iter_fill": (
        c_int32,
        (kvs_iter, c_void_p, c_size_t, c_size_t, c_uint32, POINTER(c_size_t), POINTER(c_size_t), _err),
    ),
    "kvs_iter_free": (None, (kvs_iter,)),
}


# Errors: one class for each status.


class Error(Exception):
    """What a call failed with: `status` and its `name`, the `message`, and the system's number, `os_error`, or None."""

    status = 0
    name = ""

    def __init__(self, message: str, status: Optional[int] = None, name: Optional[str] = None, os_error: int = 0) -> None:
        super().__init__(message)
        self.message = message
        if status is not None:
            self.status = status
        if name is not None:
            self.name = name
        self.os_error = os_error or None
        if isinstance(self, OSError):
            for attribute, value in (("errno", self.os_error), ("strerror", message)):
                setattr(self, attribute, value)

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> Tuple[Any, ...]:
        return type(self), (self.message, self.status, self.name, self.os_error or 0)


class InvalidArgument(Error, ValueError):
    """An argument or an option is unusable."""

    status, name = -1, "KVS_E_INVALID"


class ClosedError(Error, ValueError):
    """The database was closed."""

    status, name = -2, "KVS_E_CLOSED"


class BadHandleError(Error, ValueError):
    """The object was closed or freed."""

    status, name = -3, "KVS_E_BAD_HANDLE"


class ConcurrentError(Error, RuntimeError):
    """Another thread is using it now."""

    status, name = -4, "KVS_E_CONCURRENT"


class ForkedError(Error, RuntimeError):
    """It was made before a fork: open it anew."""

    status, name = -5, "KVS_E_FORKED"


class BufferTooSmallError(Error, ValueError):
    """The buffer is too small."""

    status, name = -6, "KVS_E_BUFFER"


class IoError(Error, OSError):
    """The system refused an operation: see os_error."""

    status, name = -7, "KVS_E_IO"


class CorruptionError(Error, OSError):
    """A file is damaged."""

    status, name = -8, "KVS_E_CORRUPTION"


class LockedError(Error, OSError):
    """Somebody has the database open."""

    status, name = -9, "KVS_E_LOCKED"


class ReadOnlyError(Error, OSError):
    """The database cannot be written."""

    status, name = -10, "KVS_E_READ_ONLY"


class NoSpaceError(Error, OSError):
    """The disk is full; nothing was written."""

    status, name = -11, "KVS_E_NO_SPACE"


class NoMemoryError(Error, MemoryError):
    """Memory or handles are exhausted."""

    status, name = -12, "KVS_E_NO_MEMORY"


class NewerFormatError(Error, OSError):
    """A newer version wrote the files."""

    status, name = -13, "KVS_E_VERSION"


class TooLargeError(Error, ValueError):
    """A key, a value or a batch is too large."""

    status, name = -14, "KVS_E_TOO_LARGE"


class PoisonedError(Error, OSError):
    """After a failed write, until it is reopened."""

    status, name = -15, "KVS_E_POISONED"


class WouldBlockError(Error, BlockingIOError):
    """It would have had to wait."""

    status, name = -16, "KVS_E_WOULD_BLOCK"


class InterruptedError(Error, RuntimeError):
    """Somebody called interrupt()."""

    status, name = -17, "KVS_E_INTERRUPTED"


class NotADatabaseError(Error, OSError):
    """There is no database there."""

    status, name = -18, "KVS_E_NOT_A_DATABASE"


class ReentrantError(Error, RuntimeError):
    """Not from inside of a log hook."""

    status, name = -19, "KVS_E_REENTRANT"


class InternalError(Error, RuntimeError):
    """A bug in kvs: please report it."""

    status, name = -100, "KVS_E_PANIC"


ERRORS: Dict[int, Type[Error]] = {own.status: own for own in Error.__subclasses__()}


# The library.


class _Scratch:
    """What one call at a time uses for what comes out: made once, then kept among the library's spare ones."""

    __slots__ = ("buffer", "error", "error_out", "size", "size_out")
    CAPACITY = 4096

    def __init__(self) -> None:
        self.buffer = ctypes.create_string_buffer(_Scratch.CAPACITY)
        self.size = c_size_t()
        self.size_out = byref(self.size)
        self.error = kvs_error()
        self.error_out = byref(self.error)


class OptionInfo(NamedTuple):
    """An option: its name, its default as text, one sentence about it."""

    name: str
    default: str
    doc: str


class Library:
    """libkvs, loaded. Every function of kvs.h is an attribute, with its types.

    path: the library's file; None: what KVS_LIBRARY names, or what the system's loader finds.
    """

    def __init__(self, path: Union[str, "os.PathLike[str]", None] = None) -> None:
        found = os.fspath(path) if path is not None else os.environ.get("KVS_LIBRARY")
        if not found:
            found = {"darwin": "libkvs.dylib", "win32": "kvs.dll"}.get(sys.platform, "libkvs.so.%d" % ABI_VERSION)
        self._dll = ctypes.CDLL(found)
        for name, (returns, takes) in FUNCTIONS.items():
            function = getattr(self._dll, name)
            function.restype, function.argtypes = returns, takes
            setattr(self, name, function)
        if self.abi_version() != ABI_VERSION:
            raise ImportError("%s has ABI version %d, this module is for %d" % (found, self.abi_version(), ABI_VERSION))
        self._spare: List[_Scratch] = []

    def __getattr__(self, name: str) -> Any:
        # Only for those who check types: functions are set in __init__.
        raise AttributeError(name)

    def version(self) -> str:
        """Such as "0.1.0"."""
        version: bytes = self.kvs_version()
        return version.decode()

    def version_number(self) -> int:
        """major * 1000000 + minor * 1000 + patch."""
        return int(self.kvs_version_number())

    def abi_version(self) -> int:
        """The number in libkvs.so.0."""
        return int(self.kvs_abi_version())

    def status_name(self, status: int) -> str:
        """Such as "KVS_E_IO"."""
        name: bytes = self.kvs_status_name(status)
        return name.decode()

    def options(self) -> List[OptionInfo]:
        """Every option of open(), with its default."""
        made = []
        for i in range(self.kvs_option_count()):
            texts = c_char_p(), c_char_p(), c_char_p()
            self._check(self.kvs_option_info(i, *map(byref, texts)))
            made.append(OptionInfo(*(text.value.decode() for text in texts if text.value is not None)))
        return made

    def _scratch(self) -> _Scratch:
        # Taken, not looked at: a signal handler or another thread that comes in between gets another one.
        try:
            return self._spare.pop()
        except IndexError:
            return _Scratch()

    def _check(self, status: int, scratch: Optional[_Scratch] = None) -> int:
        if status < 0:
            raise self._failure(status, scratch)
        if scratch is not None:
            self._spare.append(scratch)
        return status

    def _failure(self, status: int, scratch: Optional[_Scratch] = None) -> Error:
        name, os_error = self.status_name(status), 0
        message = name
        if scratch is not None and scratch.error.value is not None:
            error, scratch.error.value = kvs_error(scratch.error.value), None
            # The status of the object is that of the call; only the object knows the rest.
            status = self.kvs_error_code(error)
            os_error = self.kvs_error_os(error)
            message = self.kvs_error_message(error).decode("utf-8", "surrogateescape")
            self.kvs_error_free(error)
            self._spare.append(scratch)
        return ERRORS.get(status, Error)(message, status, name, os_error)


_default: Optional[Library] = None


def _library(library: Union[Library, str, "os.PathLike[str]", None]) -> Library:
    global _default
    if isinstance(library, Library):
        return library
    if library is not None:
        return Library(library)
    if _default is None:
        _default = Library()
    return _default


def _bytes(data: Any) -> bytes:
    """What is no bytes object as one. Text and numbers are refused: memoryview takes neither."""
    return bytes(memoryview(data))


def _bound(data: Bound) -> Tuple[Optional[bytes], int]:
    if data is None:
        return None, 0
    if type(data) is not bytes:
        data = _bytes(data)
    return data, len(data)


def _text(text: Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]) -> bytes:
    """As C has strings; one with a zero inside would end there."""
    encoded = os.fsencode(text)
    if b"\0" in encoded:
        raise InvalidArgument("a zero byte in %r" % (text,))
    return encoded


# Log hooks. The two functions that the library calls live as long as this module; whom they call, until the library lets go of it.

_hooks: Dict[int, Hook] = {}
_hook_numbers = iter(range(1, sys.maxsize))


def _told(ctx: int, level: int, message: int, message_len: int) -> None:
    _hooks[ctx](level, ctypes.string_at(message, message_len).decode("utf-8", "replace"))


def _forget(ctx: int) -> None:
    _hooks.pop(ctx, None)


_tell, _let_go = kvs_log_fn(_told), kvs_free_fn(_forget)


_SWITCHES = ("create", "read_only", "in_memory")
_SIZES = ("cache_bytes", "memory_bytes_max", "memtable_bytes_max")


def _made_options(lib: Library, log: Optional[Hook], options: Dict[str, Any]) -> kvs_options:
    """New options, for the caller to free. A number or a bool takes the typed setter where there is one; all else goes as text."""
    made = kvs_options()
    lib._check(lib.kvs_options_new(byref(made)))
    try:
        for name, value in options.items():
            scratch = lib._scratch()
            error = scratch.error_out
            if value is None:
                status = OK
            elif name in _SWITCHES and isinstance(value, bool):
                status = getattr(lib, "kvs_options_set_" + name)(made, value, error)
            elif name == "durability" and value in DURABILITY:
                status = lib.kvs_options_set_durability(made, DURABILITY[value], error)
            elif name in _SIZES and isinstance(value, int) and 0 <= value < 1 << 64:
                status = getattr(lib, "kvs_options_set_" + name)(made, value, error)
            else:
                text = str(value).lower() if isinstance(value, bool) else str(value)
                status = lib.kvs_options_set(made, _text(name), _text(text), error)
            lib._check(status, scratch)
        if log is not None:
            number = next(_hook_numbers)
            _hooks[number] = log
            scratch = lib._scratch()
            status = lib.kvs_options_set_log(made, _tell, number, _let_go, scratch.error_out)
            if status < 0:
                _forget(number)
            lib._check(status, scratch)
    except BaseException:
        lib.kvs_options_free(made)
        raise
    return made


# Reading.


class _Reader:
    """What can be read from: a database or a snapshot."""

    _lib: Library
    # What the calls get: a database, or None and a snapshot.
    _of: Tuple[Optional[kvs_db], Optional[kvs_snapshot]]

    def get(self, key: Bytes, default: Any = None) -> Any:
        """The value of key, or default."""
        if type(key) is not bytes:
            key = _bytes(key)
        lib = self._lib
        db, snapshot = self._of
        scratch = lib._scratch()
        status = lib.kvs_get_into(
            db, snapshot, key, len(key), scratch.buffer, _Scratch.CAPACITY, scratch.size_out, scratch.error_out
        )
        if status == OK:
            value = scratch.buffer[: scratch.size.value]
            lib._spare.append(scratch)
            return value
        if status == NOT_FOUND:
            lib._spare.append(scratch)
            return default
        failure = lib._failure(status, scratch)
        if status != E_BUFFER:
            raise failure
        # By now it may be another one, of any size: copied from where it lies.
        found = self._pinned(key)
        if found is None:
            return default
        pin, data, size = found
        try:
            return ctypes.string_at(data, size)
        finally:
            lib.kvs_pin_free(pin)

    def _pinned(self, key: bytes) -> Optional[Tuple[kvs_pin, int, int]]:
        lib = self._lib
        pin, data, size, scratch = kvs_pin(), c_void_p(), c_size_t(), lib._scratch()
        status = lib.kvs_get_pinned(*self._of, key, len(key), byref(pin), byref(data), byref(size), scratch.error_out)
        if lib._check(status, scratch) == NOT_FOUND or data.value is None:
            return None
        return pin, data.value, size.value

    def get_view(self, key: Bytes) -> Optional[memoryview]:
        """The value of key where it lies, without a copy: a memoryview that cannot be written, or None.

        It stays as it was, whatever is written, and also after the database is closed; its file is kept meanwhile.
        """
        found = self._pinned(key if type(key) is bytes else _bytes(key))
        if found is None:
            return None
        pin, data, size = found
        # The view owns this array, and the array the pin: it is freed with the last view.
        array = (c_char * size).from_address(data)
        array._pin = _Pin(self._lib, pin)  # type: ignore[attr-defined]
        return memoryview(array).toreadonly().cast("B") if size else memoryview(b"")

    def get_into(self, key: Bytes, buffer: Union[bytearray, memoryview]) -> Optional[int]:
        """Copies the value of key into a buffer that can be written. Returns its size; if that is larger than the buffer,
        nothing was copied. None if there is no such key."""
        lib = self._lib
        key, room = _bound(key)[0] or b"", memoryview(buffer).nbytes
        # The array keeps the buffer from being resized as long as it lives.
        array = (c_char * room).from_buffer(buffer)
        scratch = lib._scratch()
        status = lib.kvs_get_into(*self._of, key, len(key), array, room, scratch.size_out, scratch.error_out)
        size = scratch.size.value
        if status == E_BUFFER:
            lib._failure(status, scratch)
            return size
        return None if lib._check(status, scratch) == NOT_FOUND else size

    def get_many(self, keys: Iterable[Bytes], default: Any = None) -> List[Any]:
        """The values of many keys, in their order, all as of one moment; default where there is none."""
        lib = self._lib
        all_keys = [key if type(key) is bytes else _bytes(key) for key in keys]
        ends, end = (c_size_t * len(all_keys))(), 0
        for i, key in enumerate(all_keys):
            end += len(key)
            ends[i] = end
        results, scratch = kvs_results(), lib._scratch()
        flat = b"".join(all_keys)
        status = lib.kvs_multi_get(*self._of, flat, end, ends, len(all_keys), byref(results), scratch.error_out)
        lib._check(status, scratch)
        values = []
        try:
            data, size = c_void_p(), c_size_t()
            data_out, size_out = byref(data), byref(size)
            for i in range(lib.kvs_results_count(results)):
                found = lib._check(lib.kvs_results_get(results, i, data_out, size_out)) == OK
                values.append(ctypes.string_at(data, size.value) if found else default)
        finally:
            lib.kvs_results_free(results)
        return values

    def contains(self, key: Bytes) -> bool:
        """Is there such a key?"""
        if type(key) is not bytes:
            key = _bytes(key)
        lib = self._lib
        scratch = lib._scratch()
        return lib._check(lib.kvs_contains(*self._of, key, len(key), scratch.error_out), scratch) == OK

    def __contains__(self, key: Bytes) -> bool:
        return self.contains(key)

    def __getitem__(self, key: Bytes) -> bytes:
        value: Optional[bytes] = self.get(key)
        if value is None:
            raise KeyError(key)
        return value

    def iterator(self, start: Bound = None, stop: Bound = None, prefix: Bound = None) -> Iterator:
        """An Iterator over the keys from start (included) to stop (excluded), or over those that begin with prefix, as they
        are now."""
        lib = self._lib
        made, scratch = kvs_iter(), lib._scratch()
        if prefix is not None:
            if start is not None or stop is not None:
                raise InvalidArgument("prefix, or start and stop")
            status = lib.kvs_iter_new_prefix(*self._of, *_bound(prefix), 0, byref(made), scratch.error_out)
        else:
            status = lib.kvs_iter_new(*self._of, *_bound(start), *_bound(stop), 0, byref(made), scratch.error_out)
        lib._check(status, scratch)
        return Iterator(lib, made, self)

    def items(
        self, start: Bound = None, stop: Bound = None, prefix: Bound = None, *, reverse: bool = False
    ) -> Iterating[Tuple[bytes, bytes]]:
        """Pairs of keys and values, in order or backwards, as they are at the call. What is read ahead grows with what is used."""
        return self.iterator(start, stop, prefix)._walk(reverse)

    def keys(
        self, start: Bound = None, stop: Bound = None, prefix: Bound = None, *, reverse: bool = False
    ) -> Iterating[bytes]:
        """As items(), keys alone."""
        pairs = self.items(start, stop, prefix, reverse=reverse)
        return (key for key, _ in pairs)

    def values(
        self, start: Bound = None, stop: Bound = None, prefix: Bound = None, *, reverse: bool = False
    ) -> Iterating[bytes]:
        """As items(), values alone."""
        pairs = self.items(start, stop, prefix, reverse=reverse)
        return (value for _, value in pairs)

    def __iter__(self) -> Iterating[bytes]:
        return self.keys()


class _Pin:
    """Frees a pin when it dies."""

    __slots__ = ("_lib", "_pin")

    def __init__(self, lib: Library, pin: kvs_pin) -> None:
        self._lib, self._pin = lib, pin

    def __del__(self) -> None:
        self._lib.kvs_pin_free(self._pin)


class Iterator:
    """A cursor over the keys of a range, as they were when it was made.

    It begins before the first entry. Moves return whether there is an entry; item() gives it. A for loop goes on from where it stands, in
    large steps: do not move it meanwhile. A context manager.
    """

    FILL_MIN, FILL_MAX, CAPACITY = 16, 1 << 20, 64 << 10

    def __init__(self, lib: Library, handle: kvs_iter, parent: _Reader) -> None:
        self._lib, self._handle, self._parent = lib, handle, parent
        self._using = threading.Lock()
        # Made by the first chunk.
        self._buffer: Any = None

    def __enter__(self) -> Iterator:
        return self

    def __exit__(self, *raised: Any) -> None:
        self.close()

    def __del__(self) -> None:
        self._lib.kvs_iter_free(self._handle)

    def close(self) -> None:
        """Frees it. Later calls raise BadHandleError; closing again does nothing."""
        with self._alone():
            self._lib.kvs_iter_free(self._handle)

    def _alone(self) -> _Alone:
        return _Alone(self._using)

    def _move(self, move: Callable[..., int], *key: Any) -> bool:
        lib = self._lib
        with self._alone():
            scratch = lib._scratch()
            return lib._check(move(self._handle, *key, scratch.error_out), scratch) == OK

    def first(self) -> bool:
        """To the first entry."""
        return self._move(self._lib.kvs_iter_first)

    def last(self) -> bool:
        """To the last entry."""
        return self._move(self._lib.kvs_iter_last)

    def next(self) -> bool:
        """To the next entry; behind the last it stays there."""
        return self._move(self._lib.kvs_iter_next)

    def prev(self) -> bool:
        """To the entry before; before the first it stays there."""
        return self._move(self._lib.kvs_iter_prev)

    def seek(self, key: Bytes) -> bool:
        """To the first entry whose key is not below key."""
        return self._move(self._lib.kvs_iter_seek, *_bound(key))

    def seek_for_prev(self, key: Bytes) -> bool:
        """To the last entry whose key is not above key."""
        return self._move(self._lib.kvs_iter_seek_for_prev, *_bound(key))

    def item(self) -> Optional[Tuple[bytes, bytes]]:
        """What it stands on, or None before the first entry and behind the last."""
        lib = self._lib
        # Key and value are borrowed until the next move: nobody may move it before they are copied.
        with self._alone():
            key, key_len, value, value_len = c_void_p(), c_size_t(), c_void_p(), c_size_t()
            status = lib.kvs_iter_item(self._handle, byref(key), byref(key_len), byref(value), byref(value_len))
            if lib._check(status) == END:
                return None
            return ctypes.string_at(key, key_len.value), ctypes.string_at(value, value_len.value)

    def fill(self, max_items: int = FILL_MAX, *, reverse: bool = False) -> List[Tuple[bytes, bytes]]:
        """The entry it stands on and those that follow, as many as fit 64 KiB, at least one; nothing at the end. Afterwards it stands on
        the first one that was not given."""
        if max_items < 1:
            raise InvalidArgument("max_items must be 1 or more")
        # Whatever fits a size_t; more does not fit the buffer.
        max_items = min(max_items, Iterator.FILL_MAX)
        lib = self._lib
        flags = REVERSE if reverse else 0
        with self._alone():
            if self._buffer is None:
                self._buffer = ctypes.create_string_buffer(Iterator.CAPACITY)
            while True:
                items, scratch = c_size_t(), lib._scratch()
                status = lib.kvs_iter_fill(
                    self._handle, self._buffer, len(self._buffer), max_items, flags, byref(items), scratch.size_out, scratch.error_out
                )
                if status != E_BUFFER:
                    break
                needed = scratch.size.value
                lib._failure(status, scratch)
                self._buffer = ctypes.create_string_buffer(needed)
            if lib._check(status, scratch) == END:
                return []
            # A slice of an array of c_char is a bytes object: one copy for each key and each value.
            buffer, at, pairs = self._buffer, 0, []
            lengths = struct.Struct("<II").unpack_from
            for _ in range(items.value):
                key_len, value_len = lengths(buffer, at)
                value_at = at + 8 + key_len
                end = value_at + value_len
                pairs.append((buffer[at + 8 : value_at], buffer[value_at:end]))
                at = end
            return pairs

    def __iter__(self) -> Iterating[Tuple[bytes, bytes]]:
        return self._chunks(False)

    def __reversed__(self) -> Iterating[Tuple[bytes, bytes]]:
        return self._chunks(True)

    def _chunks(self, reverse: bool) -> Iterating[Tuple[bytes, bytes]]:
        count = Iterator.FILL_MIN
        while True:
            pairs = self.fill(count, reverse=reverse)
            if not pairs:
                return
            yield from pairs
            count = min(2 * count, Iterator.FILL_MAX)

    def _walk(self, reverse: bool) -> Iterating[Tuple[bytes, bytes]]:
        with self:
            yield from self._chunks(reverse)


class _Alone:
    """Keeps other threads off an iterator; they are told so instead of waiting, since a signal handler could wait for itself."""

    __slots__ = ("_using",)

    def __init__(self, using: Any) -> None:
        self._using = using

    def __enter__(self) -> None:
        if not self._using.acquire(False):
            raise ConcurrentError("another thread is using this iterator")

    def __exit__(self, *raised: Any) -> None:
        self._using.release()


class Snapshot(_Reader):
    """The database as it was when the snapshot was made. A context manager; freed at its end, when closed, or by the collector."""

    def __init__(self, lib: Library, handle: kvs_snapshot, parent: Database) -> None:
        self._lib, self._handle, self._parent = lib, handle, parent
        self._of = None, handle

    def sequence(self) -> int:
        """The number of the last write that it sees."""
        lib = self._lib
        number, scratch = c_uint64(), lib._scratch()
        lib._check(lib.kvs_snapshot_sequence(self._handle, byref(number), scratch.error_out), scratch)
        return number.value

    def close(self) -> None:
        """Frees it; its iterators go on. Later calls raise BadHandleError; closing again does nothing."""
        self._lib.kvs_snapshot_free(self._handle)

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(self, *raised: Any) -> None:
        self.close()

    def __del__(self) -> None:
        self._lib.kvs_snapshot_free(self._handle)


# Writing.


def _flags(sync: bool, no_wait: bool) -> int:
    return (SYNC if sync else 0) | (NO_WAIT if no_wait else 0)


class Batch:
    """Writes that are applied in order, all or none, by Database.write(). For one thread at a time. A context manager that frees it."""

    # Nothing to free, should there be no library.
    _handle: Optional[kvs_batch] = None

    def __init__(self, library: Union[Library, str, None] = None) -> None:
        self._lib = _library(library)
        self._handle = kvs_batch()
        self._lib._check(self._lib.kvs_batch_new(byref(self._handle)))

    def put(self, key: Bytes, value: Bytes) -> None:
        """Adds a put."""
        self._lib._check(self._lib.kvs_batch_put(self._handle, *_bound(_some(key)), *_bound(_some(value))))

    def delete(self, key: Bytes) -> None:
        """Adds a delete."""
        self._lib._check(self._lib.kvs_batch_delete(self._handle, *_bound(_some(key))))

    def delete_range(self, start: Bound = None, stop: Bound = None) -> None:
        """Adds a delete of all keys from start (included) to stop (excluded); None: from the first, to the last."""
        self._lib._check(self._lib.kvs_batch_delete_range(self._handle, *_bound(start), *_bound(stop)))

    def put_many(self, pairs: Iterable[Tuple[Bytes, Bytes]]) -> None:
        """Adds many puts, with one call for all of them. All are added or, on failure, none."""
        parts: List[Bytes] = []
        head = struct.Struct("<BII").pack
        for key, value in pairs:
            if type(key) is not bytes:
                key = _bytes(key)
            if type(value) is not bytes:
                value = _bytes(value)
            if len(key) >> 32 or len(value) >> 32:
                raise TooLargeError("a key or a value of 4 GiB or more")
            parts += head(PACKED_PUT, len(key), len(value)), key, value
        self.append_packed(b"".join(parts))

    def append_packed(self, writes: Bytes) -> None:
        """Adds writes in the packed form of kvs_batch_append_packed."""
        scratch = self._lib._scratch()
        status = self._lib.kvs_batch_append_packed(self._handle, *_bound(_some(writes)), scratch.error_out)
        self._lib._check(status, scratch)

    def clear(self) -> None:
        """Empties it."""
        self._lib._check(self._lib.kvs_batch_clear(self._handle))

    def __len__(self) -> int:
        return int(self._lib.kvs_batch_count(self._handle))

    def byte_size(self) -> int:
        """Bytes of its keys and values."""
        return int(self._lib.kvs_batch_bytes(self._handle))

    def close(self) -> None:
        """Frees it. Later calls raise BadHandleError; closing again does nothing."""
        self._lib.kvs_batch_free(self._handle)

    def __enter__(self) -> Batch:
        return self

    def __exit__(self, *raised: Any) -> None:
        self.close()

    def __del__(self) -> None:
        if self._handle is not None:
            self._lib.kvs_batch_free(self._handle)


def _some(data: Bytes) -> Bytes:
    """None is a bound that there is none of, but no key and no value."""
    if data is None:
        raise TypeError("bytes are needed, not None")
    return data


class _Writing:
    """Database.batch(): a batch that is written at the end of its with block, unless that ends with an exception."""

    def __init__(self, db: Database, flags: int) -> None:
        self._db, self._flags, self._batch = db, flags, Batch(db._lib)

    def __enter__(self) -> Batch:
        return self._batch

    def __exit__(self, raised: Any, *more: Any) -> None:
        with self._batch:
            if raised is None:
                self._db._write(self._batch, self._flags)


class Verified(NamedTuple):
    """What verify() looked at."""

    files: int
    records: int
    bytes: int


def _shut(lib: Library, handle: kvs_db) -> None:
    # Closed, too: a hook must not be called any more once the interpreter ends, even if a snapshot is left.
    lib.kvs_close(handle, None)
    lib.kvs_free_db(handle)


class Database(_Reader):
    """An open database, for any number of threads. A context manager; closed at its end, or when the collector or the end of the
    program comes to it.

    path: the directory; None with in_memory=True.
    library: a Library, or the path of one; None: see Library.
    log: called with the level of an event (LOG_INFO, ...) and one line; see kvs_log_fn for what it may do.
    options: by name, as Library.options() lists them: create=False, durability="sync", cache_bytes="64m".
    """

    def __init__(
        self,
        path: Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]", None] = None,
        *,
        library: Union[Library, str, None] = None,
        log: Optional[Hook] = None,
        **options: Any,
    ) -> None:
        self._lib = lib = _library(library)
        native = None if path is None else _text(path)
        made = _made_options(lib, log, options)
        try:
            handle, scratch = kvs_db(), lib._scratch()
            lib._check(lib.kvs_open(native, made, byref(handle), scratch.error_out), scratch)
        finally:
            lib.kvs_options_free(made)
        self._handle = handle
        self._of = handle, None
        self._shut = weakref.finalize(self, _shut, lib, handle)

    def close(self) -> None:
        """Waits for running calls, makes everything durable and lets go of the directory. Later calls raise ClosedError, those of its
        snapshots and iterators, too; closing again does nothing. Raises what goes wrong; it is closed all the same."""
        scratch = self._lib._scratch()
        self._lib._check(self._lib.kvs_close(self._handle, scratch.error_out), scratch)

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *raised: Any) -> None:
        self.close()

    def put(self, key: Bytes, value: Bytes, *, sync: bool = False, no_wait: bool = False) -> None:
        """Sets a key. sync: returns when the write would survive a power failure. no_wait: WouldBlockError instead of waiting for
        a flush; nothing is written then."""
        if type(key) is not bytes:
            key = _bytes(key)
        if type(value) is not bytes:
            value = _bytes(value)
        lib = self._lib
        scratch = lib._scratch()
        flags = _flags(sync, no_wait) if sync or no_wait else 0
        status = lib.kvs_put(self._handle, key, len(key), value, len(value), flags, scratch.error_out)
        if status:
            lib._check(status, scratch)
        else:
            lib._spare.append(scratch)

    def __setitem__(self, key: Bytes, value: Bytes) -> None:
        self.put(key, value)

    def delete(self, key: Bytes, *, sync: bool = False, no_wait: bool = False) -> None:
        """Removes a key, whether it is there or not."""
        lib = self._lib
        scratch = lib._scratch()
        flags = _flags(sync, no_wait)
        lib._check(lib.kvs_delete(self._handle, *_bound(_some(key)), flags, scratch.error_out), scratch)

    def __delitem__(self, key: Bytes) -> None:
        if not self.contains(key):
            raise KeyError(key)
        self.delete(key)

    def delete_range(self, start: Bound = None, stop: Bound = None, *, sync: bool = False, no_wait: bool = False) -> None:
        """Removes all keys from start (included) to stop (excluded); None: from the first, to the last. One write."""
        lib = self._lib
        scratch = lib._scratch()
        status = lib.kvs_delete_range(
            self._handle, *_bound(start), *_bound(stop), _flags(sync, no_wait), scratch.error_out
        )
        lib._check(status, scratch)

    def batch(self, *, sync: bool = False, no_wait: bool = False) -> _Writing:
        """A batch for a with block: written at its end, not at all if that ends with an exception."""
        return _Writing(self, _flags(sync, no_wait))

    def write(self, batch: Batch, *, sync: bool = False, no_wait: bool = False) -> None:
        """Applies all of a batch or nothing. The batch stays as it is."""
        self._write(batch, _flags(sync, no_wait))

    def _write(self, batch: Batch, flags: int) -> None:
        scratch = self._lib._scratch()
        self._lib._check(self._lib.kvs_write(self._handle, batch._handle, flags, scratch.error_out), scratch)

    def put_many(self, pairs: Iterable[Tuple[Bytes, Bytes]], *, sync: bool = False) -> None:
        """Sets many keys in one batch."""
        with self.batch(sync=sync) as batch:
            batch.put_many(pairs)

    def snapshot(self) -> Snapshot:
        """The database as it is now."""
        lib = self._lib
        made, scratch = kvs_snapshot(), lib._scratch()
        lib._check(lib.kvs_snapshot_new(self._handle, byref(made), scratch.error_out), scratch)
        return Snapshot(lib, made, self)

    def sync(self) -> None:
        """Returns when all writes before would survive a power failure."""
        scratch = self._lib._scratch()
        self._lib._check(self._lib.kvs_sync(self._handle, 0, scratch.error_out), scratch)

    def flush(self) -> None:
        """Returns when all writes before are in tables."""
        scratch = self._lib._scratch()
        self._lib._check(self._lib.kvs_flush(self._handle, 0, scratch.error_out), scratch)

    def compact(self, start: Bound = None, stop: Bound = None) -> None:
        """Merges all tables with keys from start to stop: what was overwritten or deleted there gives its space back."""
        scratch = self._lib._scratch()
        status = self._lib.kvs_compact(self._handle, *_bound(start), *_bound(stop), 0, scratch.error_out)
        self._lib._check(status, scratch)

    def interrupt(self) -> None:
        """Makes calls that run now and take long raise InterruptedError. From another thread."""
        scratch = self._lib._scratch()
        self._lib._check(self._lib.kvs_interrupt(self._handle, scratch.error_out), scratch)

    def verify(self) -> Verified:
        """Reads and checks every live byte; CorruptionError at the first damage."""
        out, scratch = kvs_verified(), self._lib._scratch()
        status = self._lib.kvs_verify(self._handle, 0, byref(out), ctypes.sizeof(out), scratch.error_out)
        self._lib._check(status, scratch)
        return Verified(out.files, out.records, out.bytes)

    def stats(self) -> Dict[str, int]:
        """The numbers of kvs_stats, by name."""
        out, scratch = kvs_stats(), self._lib._scratch()
        status = self._lib.kvs_get_stats(self._handle, byref(out), ctypes.sizeof(out), scratch.error_out)
        self._lib._check(status, scratch)
        return {field[0]: getattr(out, field[0]) for field in kvs_stats._fields_}

    def property(self, name: str) -> str:
        """Something about the database as text, by name; "properties" lists the names."""
        lib = self._lib
        text, size, scratch = c_void_p(), c_size_t(), lib._scratch()
        status = lib.kvs_property(self._handle, _text(name), byref(text), byref(size), scratch.error_out)
        lib._check(status, scratch)
        try:
            return ctypes.string_at(text, size.value).decode("utf-8", "surrogateescape")
        finally:
            lib.kvs_free(text)


open = Database


# Repair.


class LeftOut(NamedTuple):
    """Something that is not in the new database although it may have been in the old one. None: not known."""

    file: str
    start: int
    stop: int
    why: str
    # "unknown": any key may be concerned; "one": the key low; "between": some from low to high.
    keys: str
    low: Optional[bytes]
    high: Optional[bytes]
    records: Optional[int]
    first_sequence: Optional[int]
    last_sequence: Optional[int]


class Report(NamedTuple):
    """What repair() did. Nothing was lost if left_out is empty."""

    keys: int
    bytes: int
    files: int
    left_out: List[LeftOut]
    warnings: List[str]
    text: str


def repair(
    path: Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"],
    new_path: Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"],
    *,
    library: Union[Library, str, None] = None,
    log: Optional[Hook] = None,
    **options: Any,
) -> Report:
    """Writes what is provably good of the damaged database in path to a new one in new_path, and says what it left out. path is only
    read. options are those of the new database."""
    lib = _library(library)
    names = _text(path), _text(new_path)
    made = _made_options(lib, log, options)
    try:
        report, scratch = kvs_report(), lib._scratch()
        lib._check(lib.kvs_repair(*names, made, byref(report), scratch.error_out), scratch)
    finally:
        lib.kvs_options_free(made)
    try:
        numbers, text = kvs_repaired(), c_char_p()
        lib._check(lib.kvs_report_summary(report, byref(numbers), ctypes.sizeof(numbers)))
        left_out = [_left_out(lib, report, i) for i in range(numbers.left_out)]
        warnings = []
        for i in range(numbers.warnings):
            lib._check(lib.kvs_report_warning(report, i, byref(text)))
            warnings.append(_decoded(text.value))
        lib._check(lib.kvs_report_text(report, byref(text)))
        return Report(numbers.keys, numbers.bytes, numbers.files, left_out, warnings, _decoded(text.value))
    finally:
        lib.kvs_report_free(report)


def _left_out(lib: Library, report: kvs_report, i: int) -> LeftOut:
    out = kvs_left_out()
    lib._check(lib.kvs_report_left_out(report, i, byref(out), ctypes.sizeof(out)))
    return LeftOut(
        file=os.fsdecode(out.file),
        start=getattr(out, "from"),
        stop=out.to,
        why=_decoded(out.why),
        keys=("unknown", "one", "between")[out.keys],
        low=None if out.low is None else ctypes.string_at(out.low, out.low_len),
        high=None if out.high is None else ctypes.string_at(out.high, out.high_len),
        records=None if out.records == (1 << 64) - 1 else out.records,
        first_sequence=out.first_sequence or None,
        last_sequence=out.last_sequence or None,
    )


def _decoded(text: Optional[bytes]) -> str:
    return (text or b"").decode("utf-8", "surrogateescape")
