"""Counts the words of its own text into a store, in one batch, and prints the most frequent.

    python word_count.py PATH
"""

import re
import sys
from collections import Counter
from pathlib import Path

import kvs


def main(path: str) -> None:
    words = Counter(re.findall(r"[a-z]+", Path(__file__).read_text().lower()))
    with kvs.open(path) as db:
        db.put_many((b"word:" + word.encode(), b"%d" % count) for word, count in words.items())
        with db.batch() as batch:
            # The same counts in another order: keys sort as bytes do, so numbers are padded.
            for word, count in words.items():
                batch[b"count:%08d:%s" % (count, word.encode())] = b""
        for key in db.keys(b"count:", reverse=True, limit=5):
            _, padded, name = key.decode().split(":")
            print(int(padded), name)


if __name__ == "__main__":
    main(sys.argv[1])
