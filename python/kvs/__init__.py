"""kvs: an embedded, ordered, durable, multi-version key-value store.

>>> with kvs.open(tmp / "example") as db:
...     db[b"greeting"] = b"hello"
...     db[b"greeting"]
b'hello'
"""

from kvs._kvs import (
    DB,
    Batch,
    ClosedError,
    ConflictError,
    CorruptionError,
    Error,
    ForkedError,
    InternalError,
    InvalidArgument,
    IoError,
    LockedError,
    NewerFormatError,
    NoSpaceError,
    NotADatabaseError,
    PoisonedError,
    ReadOnlyError,
    Snapshot,
    TooLargeError,
    View,
    ViewIterator,
    WouldBlockError,
    __version__,
    open,
)

__all__ = [
    "DB",
    "Batch",
    "ClosedError",
    "ConflictError",
    "CorruptionError",
    "Error",
    "ForkedError",
    "InternalError",
    "InvalidArgument",
    "IoError",
    "LockedError",
    "NewerFormatError",
    "NoSpaceError",
    "NotADatabaseError",
    "PoisonedError",
    "ReadOnlyError",
    "Snapshot",
    "TooLargeError",
    "View",
    "ViewIterator",
    "WouldBlockError",
    "__version__",
    "open",
]
