"""Moves money between accounts from several threads, while another adds it all up: the sum never changes.

    python transfer.py PATH
"""

import random
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import kvs

ACCOUNTS = [b"account:%02d" % n for n in range(10)]


def total(db: kvs.DB) -> int:
    with db.snapshot() as snapshot:
        return sum(int(value) for value in snapshot.values(b"account:"))


def main(path: str) -> None:
    # A batch is atomic, but two threads that read the same balances must take turns.
    turn = threading.Lock()

    with kvs.open(path) as db:
        db.put_many((account, b"100") for account in ACCOUNTS)

        def transfer(_: int) -> None:
            source, target = random.sample(ACCOUNTS, 2)
            with turn, db.batch() as batch:
                amount = random.randrange(int(db[source]) + 1)
                batch[source] = b"%d" % (int(db[source]) - amount)
                batch[target] = b"%d" % (int(db[target]) + amount)

        with ThreadPoolExecutor(4) as pool:
            transfers = [pool.submit(transfer, n) for n in range(1000)]
            while not all(each.done() for each in transfers):
                assert total(db) == 1000
        for each in transfers:
            each.result()
        print("the sum is", total(db))


if __name__ == "__main__":
    main(sys.argv[1])
