"""TypedDB: keys and values that are not bytes, written as bytes by a codec.

The bytes stay the ground truth: a TypedDB holds no state of its own, `raw` is the store below it, and both may be used
side by side. Nothing is guessed: what the codec does not take is a TypeError, what it cannot read is its own error with a
note that names the key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

from kvs._kvs import DB, Batch, InvalidArgument, Snapshot, View, ViewIterator

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

_MISSING = object()
K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Codec(Generic[T]):
    """How values of one kind are written as bytes and read again.

    decode(encode(x)) has to equal x. For keys, equal ones have to be written equally; their order is that of the bytes.

    >>> number = kvs.Codec("number", lambda n: n.to_bytes(8, "big"), lambda b: int.from_bytes(b, "big"))
    >>> with kvs.open(in_memory=True, key_codec=number, codec="utf-8") as db:
    ...     db[300], db[7] = "three hundred", "seven"
    ...     list(db.items())
    [(7, 'seven'), (300, 'three hundred')]
    """

    __slots__ = ("_name", "_encode", "_decode")

    def __init__(self, name: str, encode: Callable[[T], bytes], decode: Callable[[bytes], T]) -> None:
        self._name = name
        self._encode = encode
        self._decode = decode

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return self._name

    @property
    def encode(self) -> Callable[[T], bytes]:
        """Writes a value as bytes."""
        return self._encode

    @property
    def decode(self) -> Callable[[bytes], T]:
        """Reads a value from bytes."""
        return self._decode

    def __repr__(self) -> str:
        return f"<kvs.Codec {self._name}>"


def _as_is(value: Any) -> Any:
    return value


def _text(value: str) -> bytes:
    if isinstance(value, str):
        return value.encode()
    raise TypeError(f"codec utf-8 takes str, not {type(value).__qualname__}")


def _utf8() -> Codec[Any]:
    return Codec("utf-8", _text, bytes.decode)


def _json() -> Codec[Any]:
    import json

    encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
    return Codec("json", lambda value: encoder.encode(value).encode(), json.loads)


def _pickle() -> Codec[Any]:
    import pickle

    return Codec("pickle", lambda value: pickle.dumps(value, pickle.HIGHEST_PROTOCOL), pickle.loads)


def _msgpack() -> Codec[Any]:
    import msgpack  # type: ignore[import-untyped, import-not-found, unused-ignore]

    # Its types say that it may return None, which it does for streams only.
    pack: Any = msgpack.packb
    return Codec("msgpack", cast(Callable[[Any], bytes], pack), lambda data: msgpack.unpackb(data, strict_map_key=False))


def _arrow() -> Codec[Any]:
    import pyarrow  # type: ignore[import-untyped, import-not-found, unused-ignore]

    def encode(table: Any) -> bytes:
        if not isinstance(table, (pyarrow.Table, pyarrow.RecordBatch)):
            raise TypeError(f"codec arrow takes pyarrow.Table or RecordBatch, not {type(table).__qualname__}")
        sink = pyarrow.BufferOutputStream()
        with pyarrow.ipc.new_stream(sink, table.schema) as stream:
            stream.write(table)
        return cast(bytes, sink.getvalue().to_pybytes())

    return Codec("arrow", encode, lambda data: pyarrow.ipc.open_stream(data).read_all())


_BYTES: Codec[Any] = Codec("bytes", _as_is, _as_is)
_NAMED: dict[str, Callable[[], Codec[Any]]] = {
    "bytes": lambda: _BYTES,
    "utf-8": _utf8,
    "json": _json,
    "pickle": _pickle,
    "msgpack": _msgpack,
    "arrow": _arrow,
}
# The others write equal things differently, or reading them runs code.
_NAMED_FOR_KEYS = ("bytes", "utf-8")


def _codec_of(codec: str | Codec[Any] | None, what: str, names: Iterable[str]) -> Codec[Any]:
    if codec is None:
        return _BYTES
    if isinstance(codec, Codec):
        return codec
    if not isinstance(codec, str):
        raise TypeError(f"{what} is of type {type(codec).__qualname__}, expected the name of a codec or a kvs.Codec")
    if codec not in names:
        raise InvalidArgument(f"{what} is {codec!r}, must be one of {', '.join(names)}, or a kvs.Codec")
    try:
        return _NAMED[codec]()
    except ImportError as error:
        raise ImportError(f"{what} {codec!r} needs a package that is not installed: {error}") from error


def codecs_of(codec: str | Codec[Any] | None, key_codec: str | Codec[Any] | None) -> tuple[Codec[Any], Codec[Any]]:
    """The codec of values and that of keys, by what open was given."""
    return _codec_of(codec, "codec", _NAMED), _codec_of(key_codec, "key_codec", _NAMED_FOR_KEYS)


class _Raw(Generic[K, V]):
    """What the views and the mappings share: the two codecs."""

    __slots__ = ("_key_codec", "_codec", "__weakref__")

    def __init__(self, codec: Codec[Any], key_codec: Codec[Any]) -> None:
        self._codec = codec
        self._key_codec = key_codec

    def _k(self, key: Any) -> Any:
        return self._key_codec.encode(key)

    def _bound(self, key: Any) -> Any:
        return None if key is None else self._key_codec.encode(key)

    def _v(self, value: Any) -> Any:
        return self._codec.encode(value)

    def _key(self, raw: bytes) -> K:
        try:
            return cast(K, self._key_codec.decode(raw))
        except Exception as error:
            error.add_note(f"kvs: codec {self._key_codec.name} cannot read the key {raw!r}")
            raise

    def _value(self, raw: bytes, key: object) -> V:
        try:
            return cast(V, self._codec.decode(raw))
        except Exception as error:
            error.add_note(f"kvs: codec {self._codec.name} cannot read the value of the key {key!r}")
            raise

    def _pair(self, raw: tuple[bytes, bytes]) -> tuple[K, V]:
        return self._key(raw[0]), self._value(raw[1], raw[0])


class TypedView(_Raw[Any, Any], Generic[T_co]):
    """Decoded entries in key order, read when they are iterated over; see View."""

    __slots__ = ("_view", "_what")

    def __init__(self, of: _Raw[Any, Any], view: View[Any], what: str) -> None:
        super().__init__(of._codec, of._key_codec)
        self._view = view
        self._what = what

    def __iter__(self) -> TypedIterator[T_co]:
        return TypedIterator(self, self._view.__iter__())

    def __reversed__(self) -> TypedIterator[T_co]:
        return TypedIterator(self, self._view.__reversed__())

    def __len__(self) -> int:
        """Counts the entries: walks all of them."""
        return len(self._view)

    def __bool__(self) -> bool:
        return bool(self._view)

    def __contains__(self, item: object) -> bool:
        if self._what == "keys":
            return self._k(item) in self._view
        # By value, not by bytes: equal things may be written differently.
        return any(item is entry or item == entry for entry in self)

    def __repr__(self) -> str:
        return f"<kvs.TypedView of {self._view!r}>"


class TypedIterator(Generic[T_co]):
    """One iteration over a TypedView."""

    __slots__ = ("_of", "_entries", "_decode")

    def __init__(self, of: TypedView[T_co], entries: ViewIterator[Any]) -> None:
        self._of = of
        self._entries = entries
        # Values come with their keys, which an error names.
        decodes: dict[str, Callable[[Any], Any]] = {
            "keys": of._key,
            "items": of._pair,
            "values": lambda pair: of._value(pair[1], pair[0]),
        }
        self._decode = decodes[of._what]

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T_co:
        return cast(T_co, self._decode(next(self._entries)))

    def seek(self, key: Any) -> bool:
        """Moves to the first entry at key or behind it; see ViewIterator.seek."""
        return self._entries.seek(self._of._k(key))


class _TypedReads(_Raw[K, V], Mapping[K, V]):
    """Reading, the same from a store and from a snapshot."""

    __slots__ = ()
    # A mapping that changes has no hash; neither has its snapshot, which equals dicts.
    __hash__ = None  # type: ignore[assignment]

    @property
    def raw(self) -> DB | Snapshot:
        raise NotImplementedError

    @overload
    def get(self, key: K, default: None = None) -> V | None: ...
    @overload
    def get(self, key: K, default: T) -> V | T: ...
    def get(self, key: K, default: Any = None) -> Any:
        """The value of key, or default if there is none."""
        found = self.raw.get(self._k(key))
        return default if found is None else self._value(found, key)

    @overload
    def get_many(self, keys: Iterable[K], default: None = None) -> list[V | None]: ...
    @overload
    def get_many(self, keys: Iterable[K], default: T) -> list[V | T]: ...
    def get_many(self, keys: Iterable[K], default: Any = None) -> list[Any]:
        """The values of keys, in their order and from one point in time; default for those that are missing."""
        keys = list(keys)
        found = self.raw.get_many(list(map(self._k, keys)))
        return [default if raw is None else self._value(raw, key) for key, raw in zip(keys, found)]

    def items(  # type: ignore[override]
        self,
        prefix: K | None = None,
        *,
        start: K | None = None,
        stop: K | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> TypedView[tuple[K, V]]:
        """The pairs in the order of the keys' bytes. prefix, start and stop are written as keys are; see DB.items."""
        bounds = self._bound(start), self._bound(stop)
        view = self.raw.items(self._bound(prefix), start=bounds[0], stop=bounds[1], reverse=reverse, limit=limit)
        return TypedView(self, view, "items")

    def keys(  # type: ignore[override]
        self,
        prefix: K | None = None,
        *,
        start: K | None = None,
        stop: K | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> TypedView[K]:
        """The keys in the order of their bytes. Arguments as for items."""
        bounds = self._bound(start), self._bound(stop)
        view = self.raw.keys(self._bound(prefix), start=bounds[0], stop=bounds[1], reverse=reverse, limit=limit)
        return TypedView(self, view, "keys")

    def values(  # type: ignore[override]
        self,
        prefix: K | None = None,
        *,
        start: K | None = None,
        stop: K | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> TypedView[V]:
        """The values in the order of their keys. Arguments as for items."""
        bounds = self._bound(start), self._bound(stop)
        view = self.raw.items(self._bound(prefix), start=bounds[0], stop=bounds[1], reverse=reverse, limit=limit)
        return TypedView(self, view, "values")

    def close(self) -> None:
        """Closes what lies below; see DB.close and Snapshot.close."""
        self.raw.close()

    @property
    def closed(self) -> bool:
        """Has it been closed?"""
        return self.raw.closed

    def __enter__(self) -> Self:
        self.raw.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc: BaseException | None = None,
        traceback: TracebackType | None = None,
        /,
    ) -> None:
        self.raw.close()

    def __getitem__(self, key: K) -> V:
        found = self.raw.get(self._k(key))
        if found is None:
            raise KeyError(key)
        return self._value(found, key)

    def __contains__(self, key: object) -> bool:
        return self._k(key) in self.raw

    def __len__(self) -> int:
        """The exact number of keys: walks all of them."""
        return len(self.raw)

    def __bool__(self) -> bool:
        return bool(self.raw)

    def __iter__(self) -> Iterator[K]:
        return iter(self.keys())

    def __reversed__(self) -> Iterator[K]:
        return reversed(self.keys())

    def __eq__(self, other: object) -> bool:
        """Equal to any Mapping with the same pairs. Walks all of them."""
        if self is other:
            return True
        if not isinstance(other, Mapping):
            return NotImplemented
        missing, count = object(), 0
        for key, value in self.items():
            if other.get(key, missing) != value:
                return False
            count += 1
        return len(other) == count

    def __repr__(self) -> str:
        codecs = f"keys {self._key_codec.name}, values {self._codec.name}"
        return f"<kvs.{type(self).__name__}, {codecs}, of {self.raw!r}>"


class TypedSnapshot(_TypedReads[K, V]):
    """A Snapshot whose keys and values are read by codecs."""

    __slots__ = ("_snapshot",)

    def __init__(self, snapshot: Snapshot, codec: Codec[Any], key_codec: Codec[Any]) -> None:
        super().__init__(codec, key_codec)
        self._snapshot = snapshot

    @property
    def raw(self) -> Snapshot:
        """The snapshot below: bytes."""
        return self._snapshot


class TypedBatch(_Raw[K, V]):
    """A Batch whose keys and values are written by codecs."""

    __slots__ = ("_batch",)

    def __init__(self, batch: Batch, codec: Codec[Any], key_codec: Codec[Any]) -> None:
        super().__init__(codec, key_codec)
        self._batch = batch

    @property
    def raw(self) -> Batch:
        """The batch below: bytes."""
        return self._batch

    def put(self, key: K, value: V) -> None:
        """Sets key to value."""
        self.raw.put(self._k(key), self._v(value))

    def delete(self, key: K) -> None:
        """Removes key, whether it is there or not."""
        self.raw.delete(self._k(key))

    def delete_range(self, start: K | None = None, stop: K | None = None) -> None:
        """Removes every key between start (included) and stop (excluded); see Batch.delete_range."""
        self.raw.delete_range(self._bound(start), self._bound(stop))

    __setitem__ = put
    __delitem__ = delete

    def __len__(self) -> int:
        return len(self.raw)

    def __enter__(self) -> Self:
        self.raw.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.raw.__exit__(exc_type, exc, traceback)

    def __repr__(self) -> str:
        return f"<kvs.TypedBatch of {self.raw!r}>"


class TypedDB(_TypedReads[K, V], MutableMapping[K, V]):
    """A store whose keys and values are written and read by codecs: a MutableMapping over a DB, which is `raw`.

    Made by kvs.open(..., codec=, key_codec=), or over a store that is open. Codecs for values: "bytes", "utf-8" (str), "json",
    "pickle" (reading runs code: only for stores that nobody else writes), "msgpack" and "arrow" (tables) if those packages
    are installed, or a Codec. For keys: "bytes", "utf-8", or a Codec.

    >>> with kvs.open(in_memory=True, codec="json", key_codec="utf-8") as db:
    ...     db["user:1"] = {"name": "Ann", "age": 40}
    ...     db["user:1"]["name"], list(db.keys("user:")), db.raw[b"user:1"]
    ('Ann', ['user:1'], b'{"name":"Ann","age":40}')
    """

    __slots__ = ("_db",)

    def __init__(
        self, db: DB, codec: str | Codec[V] | None = None, key_codec: str | Codec[K] | None = None
    ) -> None:
        if not isinstance(db, DB):
            raise TypeError(f"expected a kvs.DB, not {type(db).__qualname__}")
        super().__init__(*codecs_of(codec, key_codec))
        self._db = db

    @property
    def raw(self) -> DB:
        """The store below: bytes."""
        return self._db

    @property
    def path(self) -> str | bytes | None:
        """The path that the store was opened with; see DB.path."""
        return self._db.path

    @property
    def approximate_len(self) -> int:
        """About how many keys there are; see DB.approximate_len."""
        return self._db.approximate_len

    def put(self, key: K, value: V, *, sync: bool | None = None) -> None:
        """Sets key to value; see DB.put."""
        self._db.put(self._k(key), self._v(value), sync=sync)

    def put_many(self, items: Mapping[K, V] | Iterable[tuple[K, V]], *, sync: bool | None = None) -> None:
        """Writes all pairs of a mapping or of an iterable: all of them or, after an error, none."""
        self._db.put_many(self._pairs(items), sync=sync)

    def _pairs(self, items: Any) -> Iterator[tuple[Any, Any]]:
        for key, value in self._items_of(items):
            yield self._k(key), self._v(value)

    def delete(self, key: K, *, sync: bool | None = None) -> None:
        """Removes key, whether it is there or not; see DB.delete."""
        self._db.delete(self._k(key), sync=sync)

    def delete_range(self, start: K | None = None, stop: K | None = None, *, sync: bool | None = None) -> None:
        """Removes every key between start (included) and stop (excluded); see DB.delete_range."""
        self._db.delete_range(self._bound(start), self._bound(stop), sync=sync)

    @overload
    def pop(self, key: K) -> V: ...
    @overload
    def pop(self, key: K, default: T) -> V | T: ...
    def pop(self, key: K, default: Any = _MISSING) -> Any:
        """Removes key and returns its value; default, or KeyError, if there is none."""
        raw = self._k(key)
        found = self._db.pop(raw, None)
        if found is not None:
            return self._kept(raw, found)
        if default is _MISSING:
            raise KeyError(key)
        return default

    def popitem(self) -> tuple[K, V]:
        """Removes the first pair and returns it; KeyError if there is none."""
        raw, found = self._db.popitem()
        value = self._kept(raw, found)
        return self._key(raw), value

    def _kept(self, raw: bytes, found: bytes) -> V:
        """The value that was popped. If it cannot be read it goes back: nobody else could."""
        try:
            return self._value(found, raw)
        except BaseException:
            self._db.setdefault(raw, found)
            raise

    def setdefault(self, key: K, default: V = None) -> V:  # type: ignore[assignment]
        """The value of key; if there is none, default, which is written."""
        found = self._db.setdefault(self._k(key), self._v(default))
        return self._value(found, key)

    def update(self, items: Any = (), /, **names: V) -> None:
        """put_many, with the arguments of dict.update."""
        if names:
            items = [*self._items_of(items), *names.items()]
        self._db.update(self._pairs(items))

    @staticmethod
    def _items_of(items: Any) -> Iterator[tuple[Any, Any]]:
        if isinstance(items, Mapping):
            # A store's items are of one point in time; its keys and then their values are not.
            return iter(items.items())
        if hasattr(items, "keys"):
            return ((key, items[key]) for key in items.keys())
        return iter(items)

    def clear(self) -> None:
        """Removes every key; see DB.clear."""
        self._db.clear()

    def batch(self, sync: bool | None = None) -> TypedBatch[K, V]:
        """Collects writes that become visible, and survive, together; see Batch."""
        return TypedBatch(self._db.batch(sync), self._codec, self._key_codec)

    def snapshot(self) -> TypedSnapshot[K, V]:
        """The store as it is now, unchanging; see Snapshot."""
        return TypedSnapshot(self._db.snapshot(), self._codec, self._key_codec)

    def sync(self) -> None:
        """Returns once every write before the call survives power loss; see DB.sync."""
        self._db.sync()

    def flush(self) -> None:
        """Returns once every write before the call is in tables; see DB.flush."""
        self._db.flush()

    def compact(self, start: K | None = None, stop: K | None = None) -> None:
        """Merges all tables with keys in a range; see DB.compact."""
        self._db.compact(self._bound(start), self._bound(stop))

    def stats(self) -> dict[str, Any]:
        """What the store counts about itself, by name; see DB.stats."""
        return self._db.stats()

    def property(self, name: str) -> int | float:
        """One of the numbers of stats(), by its name."""
        return self._db.property(name)

    def verify(self) -> dict[str, int]:
        """Reads every byte of the store and checks it; see DB.verify."""
        return self._db.verify()

    def interrupt(self) -> None:
        """Ends what takes long or waits, in other threads; see DB.interrupt."""
        self._db.interrupt()

    def __setitem__(self, key: K, value: V) -> None:
        self._db[self._k(key)] = self._v(value)

    def __delitem__(self, key: K) -> None:
        raw = self._k(key)
        try:
            del self._db[raw]
        except KeyError:
            raise KeyError(key) from None

    def __reduce__(self) -> Any:
        raise TypeError("a kvs.TypedDB cannot be pickled or copied: send the path, and open the store where it is used")

    def _repr_html_(self) -> str:
        return self._db._repr_html_()


for _class in Codec, TypedView, TypedIterator, TypedSnapshot, TypedBatch, TypedDB:
    _class.__module__ = "kvs"
del _class
