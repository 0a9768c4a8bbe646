"""Replays the scripts of this directory in Python: what the package kvs and the ctypes module share. README.md has the form.

A program gives an adapter: a class whose methods are the operations on one store, and which says what an exception's status is. All words are
read here, strictly: what is not understood is a BadScript.
"""

import re
from pathlib import Path
from typing import Any, Iterator, List, NamedTuple, Optional, Protocol, Tuple, Union

SCRIPTS = Path(__file__).parent

# A name, bytes, or an entry.
Word = Union[str, bytes, Tuple[bytes, bytes]]
Entry = Tuple[bytes, bytes]


class BadScript(Exception):
    """A script that is not of the form."""


class Mismatch(AssertionError):
    """An operation came to something else."""


class Operation(NamedTuple):
    line: int
    words: List[Word]
    expected: Optional[List[Word]]


_PIECE = re.compile(r'"((?:[^"\\]|\\x[0-9a-f]{2}|\\\\|\\")*)"(?:\*([0-9]+))?')
_ESCAPE = re.compile(r'\\(x([0-9a-f]{2})|[\\"])')


def _bytes(text: str, at: int) -> Tuple[bytes, int]:
    made = b""
    while True:
        piece = _PIECE.match(text, at)
        if piece is None:
            raise BadScript("no bytes at %r" % text[at : at + 40])
        plain = _ESCAPE.sub(lambda escape: chr(int(escape[2], 16)) if escape[2] else escape[1], piece[1])
        made += plain.encode("latin-1") * int(piece[2] or 1)
        at = piece.end()
        if text[at : at + 1] != "+":
            return made, at
        at += 1


def _words(text: str) -> Iterator[Word]:
    at = 0
    while True:
        while text[at : at + 1] == " ":
            at += 1
        if at == len(text):
            return
        if text[at] == '"':
            word, at = _bytes(text, at)
            if text[at : at + 1] == "=":
                value, at = _bytes(text, at + 1)
                yield word, value
            else:
                yield word
            if text[at : at + 1] not in ("", " "):
                raise BadScript("no space at %r" % text[at : at + 40])
        else:
            end = (text + " ").index(" ", at)
            yield text[at:end]
            at = end


def parse(text: str) -> List[Operation]:
    """The operations of a script."""
    lines = text.split("\n")
    if not re.match("# .", lines[0]):
        raise BadScript("the first line says what the script promises")
    if lines.pop() != "":
        raise BadScript("the last line does not end")
    made: List[Tuple[int, str]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith(" ") and made:
            made[-1] = made[-1][0], made[-1][1] + " " + line
        else:
            made.append((number, line))
    operations = []
    for number, line in made:
        words = list(_words(line))
        expected = None
        if "->" in words:
            at = words.index("->")
            words, expected = words[:at], words[at + 1 :]
            if not expected:
                raise BadScript("line %d: nothing behind ->" % number)
        operations.append(Operation(number, words, expected))
    if all(operation.expected is None for operation in operations):
        raise BadScript("no expectation")
    return operations


class Range(NamedTuple):
    """From start to stop, or all that begins with prefix."""

    start: Optional[bytes]
    stop: Optional[bytes]
    prefix: Optional[bytes]


class Adapter(Protocol):
    """A language's way to do what scripts ask for. One object is one open store."""

    @staticmethod
    def status_of(error: Exception) -> str: ...
    @classmethod
    def open(cls, path: Optional[Path], options: "dict[str, str]") -> "Adapter": ...
    @staticmethod
    def repair(path: Path, new: Path) -> None: ...
    def close(self) -> None: ...
    def put(self, key: bytes, value: bytes, sync: bool) -> None: ...
    def delete(self, key: bytes, sync: bool) -> None: ...
    def delete_range(self, start: Optional[bytes], stop: Optional[bytes], sync: bool) -> None: ...
    def write(self, writes: "list[tuple[Any, ...]]", sync: bool) -> None: ...
    def get(self, snapshot: Any, key: bytes) -> Optional[bytes]: ...
    def contains(self, snapshot: Any, key: bytes) -> bool: ...
    def get_many(self, snapshot: Any, keys: List[bytes]) -> List[Optional[bytes]]: ...
    def scan(self, snapshot: Any, range_: Range, reverse: bool, limit: Optional[int]) -> List[Entry]: ...
    def snapshot(self) -> Any: ...
    def release(self, snapshot: Any) -> None: ...
    def cursor(self, snapshot: Any, range_: Range) -> Any: ...
    def move(self, cursor: Any, move: str, key: Optional[bytes]) -> Optional[Entry]: ...
    def drop(self, cursor: Any) -> None: ...
    def flush(self) -> None: ...
    def sync(self) -> None: ...
    def verify(self) -> None: ...
    def compact(self, start: Optional[bytes], stop: Optional[bytes]) -> None: ...
    def stat(self, name: str) -> int: ...


# Operations that must say what they read.
_READ = {"get", "contains", "get-many", "scan", "count", "first", "last", "next", "prev", "seek", "seek-for-prev", "item", "stat"}
FILL_BATCH = 100


class _Words:
    """What is left of an operation's words."""

    def __init__(self, words: List[Word]) -> None:
        self.left = words

    def take(self, kind: type) -> Any:
        if not self.left or not isinstance(self.left[0], kind):
            raise BadScript("%s is wanted, not %r" % (kind.__name__, self.left[:1]))
        return self.left.pop(0)

    def flag(self, name: str) -> bool:
        if self.left[:1] == [name]:
            self.left.pop(0)
            return True
        return False

    def number(self) -> int:
        return int(self.take(str))

    def bounds(self) -> "tuple[Optional[bytes], Optional[bytes]]":
        start = self.take(bytes) if self.flag("from") else None
        return start, self.take(bytes) if self.flag("to") else None

    def range(self) -> Range:
        if self.flag("prefix"):
            return Range(None, None, self.take(bytes))
        return Range(*self.bounds(), None)

    def keys(self) -> List[bytes]:
        keys = [self.take(bytes)]
        while self.left and isinstance(self.left[0], bytes):
            keys.append(self.take(bytes))
        return keys

    def options(self) -> "dict[str, str]":
        made = {}
        while self.left:
            name, equals, value = self.take(str).partition("=")
            if not equals:
                raise BadScript("an option is wanted, not %r" % name)
            made[name] = value
        return made

    def end(self) -> None:
        if self.left:
            raise BadScript("%r is not understood" % (self.left,))


class _Play:
    """One script, being played."""

    def __init__(self, adapter: "type[Adapter]", directory: Path) -> None:
        self.adapter, self.directory = adapter, directory
        self.stores: "dict[str, tuple[Adapter, Optional[Path]]]" = {}
        self.all: List[Adapter] = []
        self.current = ""
        self.snapshots: "dict[str, Any]" = {}
        self.cursors: "dict[str, Any]" = {}

    @property
    def store(self) -> Adapter:
        return self.stores[self.current][0]

    def opened(self, name: str, path: Optional[Path], options: "dict[str, str]") -> None:
        store = self.adapter.open(path, options)
        self.all.append(store)
        self.stores[name] = store, path
        self.current = name

    def at(self, words: _Words) -> Any:
        found = self.snapshots[words.take(str)] if words.flag("at") else None
        words.end()
        return found

    def play(self, operation: str, words: _Words) -> List[Word]:
        if operation == "open":
            name = words.take(str)
            path = self.directory / (words.take(str) if words.flag("in") else name)
            in_memory = words.flag("in-memory")
            self.opened(name, None if in_memory else path, words.options())
        elif operation == "use":
            self.current = words.take(str)
            words.end()
            self.store
        elif operation == "close":
            words.end()
            self.store.close()
        elif operation == "reopen":
            options = words.options()
            self.store.close()
            self.opened(self.current, self.stores[self.current][1], options)
        elif operation == "put":
            key, value, sync = words.take(bytes), words.take(bytes), words.flag("sync")
            words.end()
            self.store.put(key, value, sync)
        elif operation == "delete":
            key, sync = words.take(bytes), words.flag("sync")
            words.end()
            self.store.delete(key, sync)
        elif operation == "delete-range":
            bounds, sync = words.bounds(), words.flag("sync")
            words.end()
            self.store.delete_range(*bounds, sync)
        elif operation == "batch":
            writes: "list[tuple[Any, ...]]" = []
            while words.left and words.left != ["sync"]:
                kind = words.take(str)
                if kind == "put":
                    writes.append((kind, words.take(bytes), words.take(bytes)))
                elif kind == "delete":
                    writes.append((kind, words.take(bytes)))
                elif kind == "delete-range":
                    writes.append((kind, *words.bounds()))
                else:
                    raise BadScript("no such write: %r" % kind)
            sync = words.flag("sync")
            words.end()
            self.store.write(writes, sync)
        elif operation == "fill":
            prefix, count, value = words.take(bytes), words.number(), words.take(bytes)
            words.end()
            for start in range(0, count, FILL_BATCH):
                numbers = range(start, min(start + FILL_BATCH, count))
                self.store.write([("put", prefix + b"%06d" % number, value) for number in numbers], False)
        elif operation == "get":
            key = words.take(bytes)
            value = self.store.get(self.at(words), key)
            return ["KVS_NOT_FOUND" if value is None else value]
        elif operation == "contains":
            key = words.take(bytes)
            return ["KVS_OK" if self.store.contains(self.at(words), key) else "KVS_NOT_FOUND"]
        elif operation == "get-many":
            keys = words.keys()
            values = self.store.get_many(self.at(words), keys)
            return ["KVS_NOT_FOUND" if value is None else value for value in values]
        elif operation == "scan":
            range_, reverse = words.range(), words.flag("reverse")
            limit = words.number() if words.flag("limit") else None
            return list(self.store.scan(self.at(words), range_, reverse, limit)) or ["KVS_END"]
        elif operation == "count":
            range_ = words.range()
            return [str(len(self.store.scan(self.at(words), range_, False, None)))]
        elif operation == "snapshot":
            name = words.take(str)
            words.end()
            self.snapshots[name] = self.store.snapshot()
        elif operation == "release":
            self.store.release(self.snapshots.pop(words.take(str)))
            words.end()
        elif operation == "cursor":
            name, range_ = words.take(str), words.range()
            self.cursors[name] = self.store.cursor(self.at(words), range_)
        elif operation in ("first", "last", "next", "prev", "seek", "seek-for-prev", "item"):
            cursor = self.cursors[words.take(str)]
            key = words.take(bytes) if operation.startswith("seek") else None
            words.end()
            entry = self.store.move(cursor, operation, key)
            return ["KVS_END" if entry is None else entry]
        elif operation == "drop":
            self.store.drop(self.cursors.pop(words.take(str)))
            words.end()
        elif operation in ("flush", "sync", "verify"):
            words.end()
            getattr(self.store, operation)()
        elif operation == "compact":
            bounds = words.bounds()
            words.end()
            self.store.compact(*bounds)
        elif operation == "stat":
            name = words.take(str)
            words.end()
            return [str(self.store.stat(name))]
        elif operation == "write-file":
            path, data = self.directory / words.take(str), words.take(bytes)
            words.end()
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        elif operation == "repair":
            path, new = words.take(str), words.take(str)
            words.end()
            self.adapter.repair(self.directory / path, self.directory / new)
        else:
            raise BadScript("no such operation: %r" % operation)
        return ["KVS_OK"]


def _shown(words: List[Word]) -> str:
    def one(word: Word) -> str:
        if isinstance(word, str):
            return word
        if isinstance(word, tuple):
            return "%s=%s" % (one(word[0]), one(word[1]))
        return repr(word) if len(word) < 200 else "%r... (%d bytes)" % (word[:60], len(word))

    return " ".join(map(one, words))


def replay(script: Path, adapter: "type[Adapter]", directory: Path) -> None:
    """Plays one script in an empty directory; a Mismatch tells where it came to something else."""
    operations = parse(script.read_text(encoding="utf-8"))
    play = _Play(adapter, directory)
    try:
        for line, words, expected in operations:
            operation = words[0] if words else ""
            if not isinstance(operation, str):
                raise BadScript("line %d does not begin with an operation" % line)
            if expected is None and operation in _READ:
                raise BadScript("line %d: %s without ->" % (line, operation))
            try:
                actual = play.play(operation, _Words(words[1:]))
            except (BadScript, KeyError, AssertionError):
                raise
            except Exception as error:
                actual = [adapter.status_of(error)]
            if actual != (expected or ["KVS_OK"]):
                raise Mismatch(
                    "%s, line %d: %s comes to\n  %s\ninstead of\n  %s"
                    % (script.name, line, _shown(words), _shown(actual), _shown(expected or ["KVS_OK"]))
                )
    finally:
        for store in play.all:
            store.close()


def scripts() -> List[Path]:
    """All of them; that there are at least 200 is checked here."""
    found = sorted(SCRIPTS.glob("*.txt"))
    if len(found) < 200:
        raise BadScript("only %d scripts" % len(found))
    return found
