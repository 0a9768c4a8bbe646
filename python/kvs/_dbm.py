"""kvs.dbm_open: a store with the interface, and the habits, of the standard library's dbm modules.

What differs from a DB, because programs written for dbm count on it:

1. Keys and values may be str, which is written as UTF-8. What comes back is bytes, as with dbm.
2. keys() is a list.
3. Every error is an OSError, since `except dbm.error` catches that: a closed store too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Any, TypeVar, overload

from kvs._kvs import DB, ClosedError, InvalidArgument, ReadOnlyError, _not_at_exit
from kvs._kvs import open as _open

if TYPE_CHECKING:
    from typing_extensions import Buffer, Self

T = TypeVar("T")
_MISSING = object()
_FLAGS = ("r", "w", "c", "n")


class DbmClosedError(ClosedError, OSError):
    """A store of dbm_open is closed: a ClosedError, and the OSError that users of dbm catch."""

    # ValueError stands before OSError: without this, what OSError makes of its arguments would be missing.
    __new__ = OSError.__new__  # type: ignore[assignment]
    __init__ = OSError.__init__
    errno = OSError.errno


class Dbm(MutableMapping[bytes, bytes]):
    """A store as dbm has it: made by dbm_open. `raw` is the DB below."""

    __slots__ = ("_db", "_writes", "__weakref__")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, db: DB, writes: bool) -> None:
        self._db = db
        self._writes = writes

    @property
    def raw(self) -> DB:
        """The store below; raises if it is closed."""
        if self._db.closed:
            raise DbmClosedError("DBM object has already been closed")
        return self._db

    def _writable(self) -> DB:
        if not self._writes:
            raise ReadOnlyError("the store was opened with flag 'r', for reading only")
        return self.raw

    def __getitem__(self, key: str | Buffer) -> bytes:
        found = self.raw.get(_bytes(key, "key"))
        if found is None:
            raise KeyError(key)
        return found

    def __setitem__(self, key: str | Buffer, value: str | Buffer) -> None:
        self._writable()[_bytes(key, "key")] = _bytes(value, "value")

    def __delitem__(self, key: str | Buffer) -> None:
        db = self._writable()
        try:
            del db[_bytes(key, "key")]
        except KeyError:
            raise KeyError(key) from None

    def __contains__(self, key: object) -> bool:
        return _bytes(key, "key") in self.raw

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.raw)

    def __len__(self) -> int:
        return len(self.raw)

    def __bool__(self) -> bool:
        return bool(self.raw)

    def keys(self) -> list[bytes]:  # type: ignore[override]
        """All keys, in the order of their bytes."""
        return list(self.raw)

    def get(self, key: str | Buffer, default: Any = None) -> Any:
        """The value of key, or default if there is none."""
        return self.raw.get(_bytes(key, "key"), default)

    @overload
    def pop(self, key: str | Buffer) -> bytes: ...
    @overload
    def pop(self, key: str | Buffer, default: T) -> bytes | T: ...
    def pop(self, key: str | Buffer, default: Any = _MISSING) -> Any:
        """Removes key and returns its value; default, or KeyError, if there is none."""
        found = self._writable().pop(_bytes(key, "key"), default)
        if found is _MISSING:
            raise KeyError(key)
        return found

    def update(self, *items: Any, **names: str | Buffer) -> None:
        """Sets the keys of a mapping, of an iterable of pairs, and of keywords, one by one."""
        self._writable()
        super().update(*items, **names)

    def setdefault(self, key: str | Buffer, default: str | Buffer = b"") -> bytes:
        """The value of key; if there is none, default, which is written."""
        return self._writable().setdefault(_bytes(key, "key"), _bytes(default, "value"))

    def clear(self) -> None:
        """Removes every key."""
        self._writable().clear()

    def sync(self) -> None:
        """Returns once every write before the call survives power loss."""
        if self._writes:
            self.raw.sync()

    def reorganize(self) -> None:
        """Gives back the space of what was overwritten and deleted."""
        self._writable().compact()

    def close(self) -> None:
        """Makes what was written durable, and closes the store. May be called twice."""
        if not self._db.closed:
            try:
                self.sync()
            finally:
                self._db.close()

    def __enter__(self) -> Self:
        self.raw
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __reduce__(self) -> Any:
        raise TypeError("a store cannot be pickled or copied: open it where it is used")

    def __repr__(self) -> str:
        return f"<kvs.Dbm of {self._db!r}>"


def dbm_open(
    file: str | bytes | os.PathLike[str] | os.PathLike[bytes],
    flag: str = "r",
    mode: int = 0o666,
    **options: Any,
) -> Dbm:
    """Opens a store as dbm.open does: the result takes str and bytes, returns bytes, and serves as a back end of shelve.

    flag: 'r' existing, for reading; 'w' existing, for reading and writing; 'c' the same, made if there is none; 'n' a new, empty one,
    whatever was there. mode is accepted and not used: the files of a store are its owner's only. options are those of kvs.open.

    >>> with kvs.dbm_open(tmp / "phones", "c") as phones:
    ...     phones["Ann"] = "555-0101"
    ...     phones["Ann"], phones.keys()
    (b'555-0101', [b'Ann'])
    >>> import shelve
    >>> with shelve.Shelf(kvs.dbm_open(tmp / "shelf", "c")) as shelf:
    ...     shelf["scores"] = [3, 1, 2]
    >>> with shelve.Shelf(kvs.dbm_open(tmp / "shelf")) as shelf:
    ...     shelf["scores"]
    [3, 1, 2]
    """
    if flag not in _FLAGS:
        raise InvalidArgument(f"flag is {flag!r}, must be one of 'r', 'w', 'c' and 'n'")
    if flag == "n" and os.path.isfile(file):
        # What another module of dbm left; a store is a directory.
        os.remove(file)
    db = _open(file, create=flag in "cn", read_only=flag == "r", **options)
    if not isinstance(db, DB):
        db.close()
        raise InvalidArgument("dbm_open has no codecs: its values are bytes")
    # A shelf that nobody closed writes when it is collected.
    _not_at_exit(db)
    if flag == "n" and db:
        try:
            # One write, so that nobody finds a part of the old contents; then their space comes back.
            db.delete_range(sync=True)
            db.compact()
        except BaseException:
            db.close()
            raise
    return Dbm(db, writes=flag != "r")


def _bytes(data: Any, what: str) -> Any:
    if isinstance(data, str):
        return data.encode()
    if isinstance(data, (bytes, bytearray, memoryview)):
        return data
    raise TypeError(f"{what}s must be bytes or strings, not {type(data).__qualname__}")


for _class in DbmClosedError, Dbm:
    _class.__module__ = "kvs"
del _class
