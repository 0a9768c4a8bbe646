"""Counts words of the standard input into a database, and prints the most frequent three of all that it ever saw.

    python word_count.py /tmp/counts < some.txt

Needs kvs_ctypes.py beside it or in PYTHONPATH, and libkvs (see KVS_LIBRARY in the module).
"""

import collections
import heapq
import sys

import kvs_ctypes

WORDS_IN_MEMORY = 100_000


def store(db: kvs_ctypes.Database, counts: "collections.Counter[bytes]") -> None:
    """Adds the counts to those that are there: one call reads them all, one batch writes them all."""
    words = list(counts)
    old = db.get_many(words, b"0")
    db.put_many((word, b"%d" % (int(before) + counts[word])) for word, before in zip(words, old))
    counts.clear()


def main() -> None:
    with kvs_ctypes.open(sys.argv[1]) as db:
        counts: "collections.Counter[bytes]" = collections.Counter()
        for line in sys.stdin.buffer:
            counts.update(line.lower().split())
            if len(counts) > WORDS_IN_MEMORY:
                store(db, counts)
        store(db, counts)
        # The whole database goes by, but only three words are held.
        for word, count in heapq.nsmallest(3, db.items(), key=lambda pair: (-int(pair[1]), pair[0])):
            print("%6d %s" % (int(count), word.decode()))


if __name__ == "__main__":
    main()
