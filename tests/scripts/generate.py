"""Writes the histories random-….txt of this directory: random operations, and what a model of dictionaries says of them.

    python3 tests/scripts/generate.py [--check]

The engine has no part in this: what it must say is found out by the few lines of Model. Each history is of one kind, named after it,
so that a failure says where to look; its seed is its number. With --check nothing is written, and a file that is not what would be
written is a failure.
"""

import random
import sys
from pathlib import Path
from typing import Callable, Dict, List, Optional, Tuple

HERE = Path(__file__).parent

Entries = Dict[bytes, bytes]
Pair = Tuple[bytes, bytes]


def quoted(data: bytes) -> str:
    """As the scripts have bytes."""
    return '"%s"' % "".join(
        "\\" + chr(byte) if byte in b'"\\' else chr(byte) if 32 <= byte < 127 else "\\x%02x" % byte for byte in data
    )


def between(entries: Entries, low: Optional[bytes], high: Optional[bytes]) -> List[Pair]:
    """The entries from low, included, to high, excluded, in order."""
    return [(key, entries[key]) for key in sorted(entries) if (low is None or key >= low) and (high is None or key < high)]


class Cursor:
    """Stands at an index of a list that does not change; -1 is before it, its length behind it, and a new one is at both."""

    def __init__(self, pairs: List[Pair]) -> None:
        self.pairs, self.at, self.is_new = pairs, 0, True

    def move(self, name: str, key: bytes = b"") -> Optional[Pair]:
        last = len(self.pairs) - 1
        if name == "first":
            # Of nothing there is no first: it is behind the end.
            at = 0
        elif name == "last":
            at = last
        elif name == "next":
            at = 0 if self.is_new else min(self.at + 1, last + 1)
        elif name == "prev":
            at = last if self.is_new else max(self.at - 1, -1)
        elif name == "seek":
            at = sum(other < key for other, _ in self.pairs)
        elif name == "seek-for-prev":
            at = sum(other <= key for other, _ in self.pairs) - 1
        else:
            return None if self.is_new or not 0 <= self.at <= last else self.pairs[self.at]
        self.at, self.is_new = at, False
        return self.pairs[at] if 0 <= at <= last else None


class Model:
    """What is in the store, in its snapshots and under its cursors."""

    def __init__(self) -> None:
        self.now: Entries = {}
        self.snapshots: Dict[str, Entries] = {}
        self.cursors: Dict[str, Cursor] = {}

    def write(self, kind: str, *of: Optional[bytes]) -> None:
        if kind == "put":
            key, value = of
            assert key is not None and value is not None
            self.now[key] = value
        elif kind == "delete":
            self.now.pop(of[0] or b"", None)
        else:
            for key, _ in between(self.now, *of):
                del self.now[key]


class History:
    """A script being made."""

    def __init__(self, seed: int, alphabet: bytes, length: int, options: str) -> None:
        self.pick, self.model, self.lines = random.Random(seed), Model(), []
        self.alphabet, self.length, self.options = alphabet, length, options
        self.number = 0
        self.say("open db" + options)

    def say(self, line: str) -> None:
        self.lines.append(line)

    def key(self) -> bytes:
        return bytes(self.pick.choices(self.alphabet, k=self.pick.randint(0, self.length)))

    def value(self) -> bytes:
        self.number += 1
        return b"%d" % self.number if self.pick.random() < 0.9 else b""

    def bounds(self) -> Tuple[str, Optional[bytes], Optional[bytes]]:
        low = self.key() if self.pick.random() < 0.8 else None
        high = self.key() if self.pick.random() < 0.8 else None
        text = ("" if low is None else " from " + quoted(low)) + ("" if high is None else " to " + quoted(high))
        return text, low, high

    def range(self) -> Tuple[str, Callable[[Entries], List[Pair]]]:
        if self.pick.random() < 0.3:
            prefix = self.key()[:2]
            found = lambda entries: [pair for pair in between(entries, None, None) if pair[0].startswith(prefix)]  # noqa: E731
            return " prefix " + quoted(prefix), found
        text, low, high = self.bounds()
        return text, lambda entries: between(entries, low, high)

    def one_write(self) -> Tuple[str, Tuple[Optional[bytes], ...]]:
        kind = self.pick.choices(["put", "delete", "delete-range"], [12, 4, 1])[0]
        if kind == "delete-range":
            text, *bounds = self.bounds()
            return kind + text, (*bounds,)
        of = (self.key(), self.value()) if kind == "put" else (self.key(),)
        return kind + "".join(" " + quoted(data) for data in of), of

    def write(self) -> None:
        text, of = self.one_write()
        self.say(text)
        self.model.write(text.split(" ")[0], *of)

    def batch(self) -> None:
        self.say("batch")
        for _ in range(self.pick.randint(1, 6)):
            text, of = self.one_write()
            self.say("  " + text)
            self.model.write(text.split(" ")[0], *of)

    def of(self) -> Tuple[str, Entries]:
        """The store, or one of its snapshots."""
        if self.model.snapshots and self.pick.random() < 0.4:
            name = self.pick.choice(sorted(self.model.snapshots))
            return " at " + name, self.model.snapshots[name]
        return "", self.model.now

    def read(self) -> None:
        at, entries = self.of()
        kind = self.pick.choice(["get", "get", "contains", "get-many", "scan", "scan", "count"])
        if kind == "get":
            key = self.key()
            self.say("get %s%s -> %s" % (quoted(key), at, quoted(entries[key]) if key in entries else "KVS_NOT_FOUND"))
        elif kind == "contains":
            key = self.key()
            self.say("contains %s%s -> %s" % (quoted(key), at, "KVS_OK" if key in entries else "KVS_NOT_FOUND"))
        elif kind == "get-many":
            keys = [self.key() for _ in range(self.pick.randint(1, 5))]
            values = [quoted(entries[key]) if key in entries else "KVS_NOT_FOUND" for key in keys]
            self.say("get-many %s%s -> %s" % (" ".join(map(quoted, keys)), at, " ".join(values)))
        elif kind == "count":
            text, found = self.range()
            self.say("count%s%s -> %d" % (text, at, len(found(entries))))
        else:
            text, found = self.range()
            pairs = found(entries)
            if self.pick.random() < 0.5:
                pairs, text = pairs[::-1], text + " reverse"
            limit = self.pick.randint(1, 8)
            shown = " ".join("%s=%s" % (quoted(key), quoted(value)) for key, value in pairs[:limit])
            self.say("scan%s limit %d%s -> %s" % (text, limit, at, shown or "KVS_END"))

    def snapshot(self) -> None:
        self.number += 1
        self.model.snapshots["s%d" % self.number] = dict(self.model.now)
        self.say("snapshot s%d" % self.number)
        if len(self.model.snapshots) > 3:
            name = self.pick.choice(sorted(self.model.snapshots))
            del self.model.snapshots[name]
            self.say("release " + name)

    def cursor(self) -> None:
        cursors = self.model.cursors
        if not cursors or self.pick.random() < 0.1:
            self.number += 1
            text, found = self.range()
            at, entries = self.of()
            cursors["c%d" % self.number] = Cursor(found(entries))
            self.say("cursor c%d%s%s" % (self.number, text, at))
            if len(cursors) > 2:
                name = self.pick.choice(sorted(cursors))
                del cursors[name]
                self.say("drop " + name)
        name = self.pick.choice(sorted(cursors))
        for _ in range(self.pick.randint(1, 5)):
            move = self.pick.choice(["next", "next", "prev", "prev", "first", "last", "item", "seek", "seek-for-prev"])
            key = self.key()
            pair = cursors[name].move(move, key)
            shown = "KVS_END" if pair is None else "%s=%s" % (quoted(pair[0]), quoted(pair[1]))
            self.say("%s %s%s -> %s" % (move, name, " " + quoted(key) if move.startswith("seek") else "", shown))

    def tidy(self) -> None:
        self.say(self.pick.choice(["flush", "flush", "compact", "compact%s" % self.bounds()[0], "sync"]))

    def reopen(self) -> None:
        self.model.snapshots.clear()
        self.model.cursors.clear()
        self.say("reopen" + self.options)


SMALL = " segment_bytes_min=4096 segment_bytes_max=4096 memtable_bytes_max=16384 table_bytes_max=4096 block_bytes=256 runs_max=2"
LETTERS, EDGES = b"abc", b"\x00a\xff"

# A name, what it says, its keys' bytes and their longest length, options, and how often what is done.
KINDS = [
    ("writes-and-reads", "Writes and reads of few keys.", LETTERS, 3, "", dict(write=5, read=5)),
    ("edge-bytes", "Keys of nothing but zeros, letters and 0xff.", EDGES, 3, "", dict(write=5, read=5, cursor=2, tidy=1)),
    ("batches", "Batches, whose writes meet each other.", LETTERS, 2, "", dict(batch=4, read=4, tidy=1)),
    ("snapshots", "Snapshots, read while the store goes on.", LETTERS, 3, "", dict(write=8, read=8, snapshot=1, tidy=1)),
    ("cursors", "Cursors that turn around wherever they like.", LETTERS, 3, "", dict(write=4, cursor=4, tidy=1)),
    ("tables", "Every few writes in a table of its own.", LETTERS, 3, SMALL, dict(write=4, read=4, cursor=1, tidy=2)),
    ("reopened", "A store that is closed and opened again and again.", LETTERS, 3, "", dict(write=6, read=4, tidy=1, reopen=1)),
    (
        "everything",
        "All of it, in small pieces.",
        EDGES,
        3,
        SMALL,
        dict(write=6, batch=2, read=6, snapshot=1, cursor=3, tidy=2, reopen=0.3),
    ),
]
EACH, OPERATIONS = 4, 120


def histories() -> Dict[str, str]:
    """Names of files and their contents."""
    made = {}
    for kind, (name, says, alphabet, length, options, weights) in enumerate(KINDS):
        for number in range(EACH):
            history = History(100 * kind + number, alphabet, length, options)
            for _ in range(OPERATIONS):
                getattr(history, history.pick.choices(list(weights), list(weights.values()))[0])()
            pairs = between(history.model.now, None, None)
            shown = " ".join("%s=%s" % (quoted(key), quoted(value)) for key, value in pairs)
            history.say("scan -> " + (shown or "KVS_END"))
            head = "# Random history %d: %s By generate.py, from a model.\n" % (number + 1, says[0].lower() + says[1:])
            made["random-%s-%d.txt" % (name, number + 1)] = head + "\n".join(history.lines) + "\n"
    return made


def main() -> None:
    made = histories()
    there = {path.name: path.read_text() for path in HERE.glob("random-*.txt")}
    if "--check" in sys.argv[1:]:
        if made != there:
            differ = sorted(name for name in {**made, **there} if made.get(name) != there.get(name))
            sys.exit("not what generate.py writes: %s" % ", ".join(differ))
        return
    for name in there.keys() - made.keys():
        (HERE / name).unlink()
    for name, text in made.items():
        (HERE / name).write_text(text)


if __name__ == "__main__":
    main()
