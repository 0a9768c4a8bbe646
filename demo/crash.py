"""Kills a writer and looks for what it had acknowledged.

    crash.py kill COUNT WRITER DIR ACKNOWLEDGED
    crash.py check DIR ACKNOWLEDGED

1. `kill` starts `WRITER write DIR`, which prints a number to a pipe after the write of that number's pair returned.
2. At a random moment after COUNT numbers it sends SIGKILL, in the middle of whatever the writer is doing. It reads on to the
   end: what is still in the pipe was acknowledged, too. All numbers go to the file ACKNOWLEDGED.
3. `check` opens the store and asks for every number's key. Each must be there with its value. Of what was not
   acknowledged there can be one pair at most: the writer has one thread, and waits for each write.
"""

import random
import signal
import subprocess
import sys
import threading
import time

import kvs


def kill(count: int, writer: str, directory: str, acknowledged: str) -> None:
    began = time.perf_counter()
    with subprocess.Popen([writer, "write", directory], stdout=subprocess.PIPE) as process:
        killer = threading.Timer(random.uniform(0, 0.1), process.kill)
        try:
            with open(acknowledged, "wb") as file:
                seen = 0
                for seen, line in enumerate(process.stdout, 1):
                    file.write(line)
                    if seen == count:
                        killer.start()
                took = time.perf_counter() - began
        finally:
            killer.cancel()
            process.kill()
    if process.returncode != -signal.SIGKILL or seen < count:
        raise SystemExit(f"the writer was not killed, it ended by itself with {process.returncode}")
    print(f"process {process.pid} killed by SIGKILL after {took:.2f} s and {seen} receipts ({seen / took / 1e3:.0f} k/s)")


def check(directory: str, acknowledged: str) -> None:
    with open(acknowledged, "rb") as file:
        text = file.read()
    numbers = [int(line) for line in text.splitlines()]
    if not text.endswith(b"\n") or numbers != list(range(len(numbers))):
        raise SystemExit("the receipts are not 0, 1, 2 and so on: the writer or the pipe is broken")
    with kvs.open(directory, create=False) as db:
        values = db.get_many([b"%012d" % number for number in numbers])
        missing = sum(value is None for value in values)
        wrong = sum(value is not None and value != b"%-99d." % n for n, value in zip(numbers, values))
        beyond = len(db) - (len(numbers) - missing)
        # Reopened, the store takes writes again.
        db.put(b"after", b"the crash", sync=True)
    print(f"acknowledged {len(numbers)}, missing {missing}")
    print(f"with a wrong value {wrong}, written but not yet acknowledged {beyond}")
    if not numbers or missing or wrong or beyond not in (0, 1):
        raise SystemExit("FAILED: the store is not what the writer was told")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["kill", count, writer, directory, acknowledged]:
            kill(int(count), writer, directory, acknowledged)
        case ["check", directory, acknowledged]:
            check(directory, acknowledged)
        case _:
            raise SystemExit(__doc__)
