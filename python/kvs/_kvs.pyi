import builtins
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from os import PathLike
from types import GenericAlias, TracebackType
from typing import Any, ClassVar, Generic, Literal, NoReturn, Protocol, TypeVar, final, overload

from typing_extensions import Buffer, Self

from kvs._typed import Codec, TypedDB

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)

class _Pairs(Protocol):
    """Has keys() and []: what dict() takes beside pairs."""

    def keys(self) -> Iterable[Buffer]: ...
    def __getitem__(self, key: Any, /) -> Buffer: ...

__version__: str

@overload
def open(
    path: str | bytes | PathLike[str] | PathLike[bytes] | None = None,
    *,
    create: bool = True,
    read_only: bool = False,
    durability: Literal["none", "process", "sync"] = "process",
    in_memory: bool = False,
    codec: None = None,
    key_codec: None = None,
    log_backend: Literal["auto", "mapped", "positioned"] | None = None,
    segment_bytes_min: int | str | None = None,
    segment_bytes_max: int | str | None = None,
    memtable_bytes_max: int | str | None = None,
    table_bytes_max: int | str | None = None,
    block_bytes: int | str | None = None,
    table_io: Literal["auto", "mapped", "positioned"] | None = None,
    cache_bytes: int | str | None = None,
    memory_bytes_max: int | str | None = None,
    space_percent: int | None = None,
    runs_max: int | None = None,
) -> DB: ...
@overload
def open(
    path: str | bytes | PathLike[str] | PathLike[bytes] | None = None,
    *,
    create: bool = True,
    read_only: bool = False,
    durability: Literal["none", "process", "sync"] = "process",
    in_memory: bool = False,
    codec: Literal["utf-8"],
    key_codec: Literal["utf-8"],
    log_backend: Literal["auto", "mapped", "positioned"] | None = None,
    segment_bytes_min: int | str | None = None,
    segment_bytes_max: int | str | None = None,
    memtable_bytes_max: int | str | None = None,
    table_bytes_max: int | str | None = None,
    block_bytes: int | str | None = None,
    table_io: Literal["auto", "mapped", "positioned"] | None = None,
    cache_bytes: int | str | None = None,
    memory_bytes_max: int | str | None = None,
    space_percent: int | None = None,
    runs_max: int | None = None,
) -> TypedDB[str, str]: ...
@overload
def open(
    path: str | bytes | PathLike[str] | PathLike[bytes] | None = None,
    *,
    create: bool = True,
    read_only: bool = False,
    durability: Literal["none", "process", "sync"] = "process",
    in_memory: bool = False,
    codec: Literal["json", "pickle", "msgpack", "arrow"],
    key_codec: Literal["utf-8"],
    log_backend: Literal["auto", "mapped", "positioned"] | None = None,
    segment_bytes_min: int | str | None = None,
    segment_bytes_max: int | str | None = None,
    memtable_bytes_max: int | str | None = None,
    table_bytes_max: int | str | None = None,
    block_bytes: int | str | None = None,
    table_io: Literal["auto", "mapped", "positioned"] | None = None,
    cache_bytes: int | str | None = None,
    memory_bytes_max: int | str | None = None,
    space_percent: int | None = None,
    runs_max: int | None = None,
) -> TypedDB[str, Any]: ...
@overload
def open(
    path: str | bytes | PathLike[str] | PathLike[bytes] | None = None,
    *,
    create: bool = True,
    read_only: bool = False,
    durability: Literal["none", "process", "sync"] = "process",
    in_memory: bool = False,
    codec: Codec[_T],
    key_codec: Literal["utf-8"],
    log_backend: Literal["auto", "mapped", "positioned"] | None = None,
    segment_bytes_min: int | str | None = None,
    segment_bytes_max: int | str | None = None,
    memtable_bytes_max: int | str | None = None,
    table_bytes_max: int | str | None = None,
    block_bytes: int | str | None = None,
    table_io: Literal["auto", "mapped", "positioned"] | None = None,
    cache_bytes: int | str | None = None,
    memory_bytes_max: int | str | None = None,
    space_percent: int | None = None,
    runs_max: int | None = None,
) -> TypedDB[str, _T]: ...
@overload
def open(
    path: str | bytes | PathLike[str] | PathLike[bytes] | None = None,
    *,
    create: bool = True,
    read_only: bool = False,
    durability: Literal["none", "process", "sync"] = "process",
    in_memory: bool = False,
    codec: str | Codec[Any] | None = None,
    key_codec: str | Codec[Any] | None = None,
    log_backend: Literal["auto", "mapped", "positioned"] | None = None,
    segment_bytes_min: int | str | None = None,
    segment_bytes_max: int | str | None = None,
    memtable_bytes_max: int | str | None = None,
    table_bytes_max: int | str | None = None,
    block_bytes: int | str | None = None,
    table_io: Literal["auto", "mapped", "positioned"] | None = None,
    cache_bytes: int | str | None = None,
    memory_bytes_max: int | str | None = None,
    space_percent: int | None = None,
    runs_max: int | None = None,
) -> TypedDB[Any, Any]: ...
def repair(
    path: str | bytes | PathLike[str] | PathLike[bytes],
    out: str | bytes | PathLike[str] | PathLike[bytes],
    **options: str | int | bool | None,
) -> Repaired: ...
def _options() -> list[tuple[str, str, str]]: ...
def _cli(args: Sequence[str]) -> int: ...
def _before_fork() -> None: ...
def _after_fork_in_parent() -> None: ...
def _after_fork_in_child() -> None: ...
def _close_all() -> None: ...
def _not_at_exit(db: DB) -> None: ...
def _panic(message: str, in_thread: bool = False) -> None: ...
@final
class DB(MutableMapping[bytes, bytes]):
    __hash__: ClassVar[None]  # type: ignore[assignment]
    @builtins.property
    def closed(self) -> bool: ...
    @builtins.property
    def path(self) -> str | bytes | None: ...
    @builtins.property
    def approximate_len(self) -> int: ...
    @overload
    def get(self, key: Buffer, default: None = None) -> bytes | None: ...
    @overload
    def get(self, key: Buffer, default: _T) -> bytes | _T: ...
    @overload
    def get_many(self, keys: Iterable[Buffer], default: None = None) -> list[bytes | None]: ...
    @overload
    def get_many(self, keys: Iterable[Buffer], default: _T) -> list[bytes | _T]: ...
    def get_view(self, key: Buffer) -> memoryview: ...
    def put(self, key: Buffer, value: Buffer, *, sync: bool | None = None) -> None: ...
    def put_many(
        self, items: _Pairs | Iterable[tuple[Buffer, Buffer]], *, sync: bool | None = None
    ) -> None: ...
    def delete(self, key: Buffer, *, sync: bool | None = None) -> None: ...
    def delete_range(
        self, start: Buffer | None = None, stop: Buffer | None = None, *, sync: bool | None = None
    ) -> None: ...
    @overload
    def pop(self, key: Buffer) -> bytes: ...
    @overload
    def pop(self, key: Buffer, default: _T) -> bytes | _T: ...
    def popitem(self) -> tuple[bytes, bytes]: ...
    def setdefault(self, key: Buffer, default: Buffer) -> bytes: ...
    def update(
        self, items: _Pairs | Iterable[tuple[Buffer, Buffer]] | None = None, /, **names: NoReturn
    ) -> None: ...
    def clear(self) -> None: ...
    @overload  # type: ignore[override]
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
    def keys(  # type: ignore[override]
        self,
        prefix: Buffer | None = None,
        *,
        start: Buffer | None = None,
        stop: Buffer | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> View[bytes]: ...
    @overload  # type: ignore[override]
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
    def batch(self, sync: bool | None = None) -> Batch: ...
    def snapshot(self) -> Snapshot: ...
    def sync(self) -> None: ...
    def flush(self) -> None: ...
    def compact(self, start: Buffer | None = None, stop: Buffer | None = None) -> None: ...
    def stats(self) -> dict[str, Any]: ...
    def property(self, name: str) -> int | float: ...
    def _repr_html_(self) -> str: ...
    def verify(self) -> dict[str, int]: ...
    def interrupt(self) -> None: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc: BaseException | None = None,
        traceback: TracebackType | None = None,
        /,
    ) -> None: ...
    def __getitem__(self, key: Buffer, /) -> bytes: ...
    def __setitem__(self, key: Buffer, value: Buffer, /) -> None: ...
    def __delitem__(self, key: Buffer, /) -> None: ...
    def __contains__(self, key: Buffer, /) -> bool: ...  # type: ignore[override]
    def __len__(self) -> int: ...
    def __bool__(self) -> bool: ...
    def __iter__(self) -> ViewIterator[bytes]: ...
    def __reversed__(self) -> ViewIterator[bytes]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __reduce__(self) -> NoReturn: ...

@final
class Snapshot(Mapping[bytes, bytes]):
    __hash__: ClassVar[None]  # type: ignore[assignment]
    @property
    def closed(self) -> bool: ...
    @overload
    def get(self, key: Buffer, default: None = None) -> bytes | None: ...
    @overload
    def get(self, key: Buffer, default: _T) -> bytes | _T: ...
    @overload
    def get_many(self, keys: Iterable[Buffer], default: None = None) -> list[bytes | None]: ...
    @overload
    def get_many(self, keys: Iterable[Buffer], default: _T) -> list[bytes | _T]: ...
    def get_view(self, key: Buffer) -> memoryview: ...
    @overload  # type: ignore[override]
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
    def keys(  # type: ignore[override]
        self,
        prefix: Buffer | None = None,
        *,
        start: Buffer | None = None,
        stop: Buffer | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> View[bytes]: ...
    @overload  # type: ignore[override]
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
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc: BaseException | None = None,
        traceback: TracebackType | None = None,
        /,
    ) -> None: ...
    def __getitem__(self, key: Buffer, /) -> bytes: ...
    def __contains__(self, key: Buffer, /) -> bool: ...  # type: ignore[override]
    def __len__(self) -> int: ...
    def __bool__(self) -> bool: ...
    def __iter__(self) -> ViewIterator[bytes]: ...
    def __reversed__(self) -> ViewIterator[bytes]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __reduce__(self) -> NoReturn: ...

@final
class Batch:
    def put(self, key: Buffer, value: Buffer) -> None: ...
    def delete(self, key: Buffer) -> None: ...
    def delete_range(self, start: Buffer | None = None, stop: Buffer | None = None) -> None: ...
    def __setitem__(self, key: Buffer, value: Buffer, /) -> None: ...
    def __delitem__(self, key: Buffer, /) -> None: ...
    def __len__(self) -> int: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        _exc: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None: ...
    def __reduce__(self) -> NoReturn: ...

@final
class View(Generic[_T_co]):
    def __iter__(self) -> ViewIterator[_T_co]: ...
    def __reversed__(self) -> ViewIterator[_T_co]: ...
    def __len__(self) -> int: ...
    def __bool__(self) -> bool: ...
    def __contains__(self, item: object, /) -> bool: ...
    @classmethod
    def __class_getitem__(cls, item: Any) -> GenericAlias: ...

@final
class ViewIterator(Generic[_T_co]):
    def __iter__(self) -> Self: ...
    def __next__(self) -> _T_co: ...
    def seek(self, key: Buffer) -> bool: ...
    @classmethod
    def __class_getitem__(cls, item: Any) -> GenericAlias: ...

@final
class Pinned:
    def __len__(self) -> int: ...

@final
class Repaired:
    @property
    def keys(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def files(self) -> int: ...
    @property
    def left_out(self) -> list[LeftOut]: ...
    @property
    def warnings(self) -> list[str]: ...
    @property
    def is_complete(self) -> bool: ...

@final
class LeftOut:
    @property
    def file(self) -> str: ...
    @property
    def span(self) -> tuple[int, int]: ...
    @property
    def why(self) -> str: ...
    @property
    def records(self) -> int | None: ...
    @property
    def keys(self) -> tuple[bytes | None, bytes | None]: ...
    def covers(self, key: Buffer) -> bool: ...

class Error(Exception):
    path: str | None
    offset: int | None
    errno: int | None

class ClosedError(Error, ValueError): ...
class LockedError(Error, OSError): ...
class CorruptionError(Error, OSError): ...
class ReadOnlyError(Error, OSError): ...
class NoSpaceError(Error, OSError): ...
class IoError(Error, OSError): ...
class PoisonedError(Error, OSError): ...
class NotADatabaseError(Error, OSError): ...
class NewerFormatError(Error, OSError): ...
class ConflictError(Error, RuntimeError): ...
class WouldBlockError(Error, BlockingIOError): ...
class InterruptedError(Error, builtins.InterruptedError): ...
class ForkedError(Error, RuntimeError): ...
class InvalidArgument(Error, ValueError): ...
class TooLargeError(InvalidArgument): ...
class InternalError(Error, RuntimeError): ...
