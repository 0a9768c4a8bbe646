"""An event log by time: appends durably, reads the newest and a window, and deletes the old.

    python events.py PATH
"""

import json
import struct
import sys

import kvs


def key(second: int) -> bytes:
    """Big-endian, so that the order of the bytes is the order of time."""
    return b"event:" + struct.pack(">Q", second)


def main(path: str) -> None:
    with kvs.open(path) as db:
        for second in range(100):
            event = {"second": second, "load": second * 7 % 10}
            # The last one waits until all of them survive power loss.
            db.put(key(second), json.dumps(event).encode(), sync=second == 99 or None)

        newest = db.values(b"event:", reverse=True, limit=3)
        print("newest:", *(json.loads(event)["second"] for event in newest))

        window = db.values(start=key(20), stop=key(25))
        print("window:", *(json.loads(event)["load"] for event in window))

        with db.batch() as batch:
            for old in db.keys(b"event:", stop=key(90)):
                del batch[old]
        print("left:", len(db.keys(b"event:")))


if __name__ == "__main__":
    main(sys.argv[1])
