"""kvs: an embedded, ordered, durable, multi-version key-value store.

    open(path)          a store: a MutableMapping of bytes to bytes, in key order; also batch(), snapshot(), get_many(), ...
    open(path, codec=)  the same with values, and keys, of other types: TypedDB
    aio.open(path)      the same for asyncio
    dbm_open(path)      the same as dbm and shelve know it
    load(db, items)     many pairs, with a progress bar
    repair(path, out)   what is good of a damaged store
    python -m kvs       the command line tool

>>> with kvs.open(tmp / "example") as db:
...     db[b"greeting"] = b"hello"
...     db[b"greeting"]
b'hello'

Every error is a kvs.Error, and also the OSError, ValueError or RuntimeError that programs catch; a missing key is a KeyError.
"""

from typing import TYPE_CHECKING, Any

from kvs._dbm import Dbm, DbmClosedError, dbm_open

from kvs._kvs import (
    DB,
    Batch,
    ClosedError,
    ConflictError,
    CorruptionError,
    Error,
    ForkedError,
    InternalError,
    InterruptedError,
    InvalidArgument,
    IoError,
    LeftOut,
    LockedError,
    NewerFormatError,
    NoSpaceError,
    NotADatabaseError,
    PoisonedError,
    ReadOnlyError,
    Repaired,
    Snapshot,
    TooLargeError,
    View,
    ViewIterator,
    WouldBlockError,
    __version__,
    open,
    repair,
)
from kvs._load import load
from kvs._typed import Codec, TypedBatch, TypedDB, TypedIterator, TypedSnapshot, TypedView

if TYPE_CHECKING:
    from kvs import aio

__all__ = [
    "Batch",
    "ClosedError",
    "Codec",
    "ConflictError",
    "CorruptionError",
    "DB",
    "Dbm",
    "DbmClosedError",
    "Error",
    "ForkedError",
    "InternalError",
    "InterruptedError",
    "InvalidArgument",
    "IoError",
    "LeftOut",
    "LockedError",
    "NewerFormatError",
    "NoSpaceError",
    "NotADatabaseError",
    "PoisonedError",
    "ReadOnlyError",
    "Repaired",
    "Snapshot",
    "TooLargeError",
    "TypedBatch",
    "TypedDB",
    "TypedIterator",
    "TypedSnapshot",
    "TypedView",
    "View",
    "ViewIterator",
    "WouldBlockError",
    "__version__",
    "aio",
    "dbm_open",
    "load",
    "open",
    "repair",
]


def __getattr__(name: str) -> Any:
    """asyncio takes longer to import than all the rest: only for those who use it."""
    if name == "aio":
        import importlib

        return importlib.import_module("kvs.aio")
    raise AttributeError(f"module 'kvs' has no attribute {name!r}")
