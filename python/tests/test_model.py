"""Random operations on a store, and on a dict that says what should come of them."""

import random
from pathlib import Path

import pytest

import kvs


@pytest.mark.parametrize("seed", range(4))
def test_random_operations(path: Path, seed: int) -> None:
    random_ = random.Random(seed)
    model: dict[bytes, bytes] = {}
    snapshots: list[tuple[kvs.Snapshot, dict[bytes, bytes]]] = []

    def key() -> bytes:
        return b"%03d" % random_.randrange(300)

    def value() -> bytes:
        return random_.randbytes(random_.choice([0, 3, 100, 5000]))

    db = kvs.open(path)
    for _ in range(4000):
        k, v = key(), value()
        match random_.randrange(18):
            case 0 | 1 | 2:
                db[k] = v
                model[k] = v
            case 3:
                db.put(k, v, sync=random_.choice([None, True, False]))
                model[k] = v
            case 4:
                db.delete(k)
                model.pop(k, None)
            case 5:
                assert (k in db) == (k in model)
                if k in model:
                    del db[k], model[k]
                else:
                    with pytest.raises(KeyError):
                        del db[k]
            case 6:
                assert db.pop(k, None) == model.pop(k, None)
            case 7:
                assert db.setdefault(k, v) == model.setdefault(k, v)
            case 8:
                pairs = [(key(), value()) for _ in range(random_.randrange(10))]
                db.put_many(pairs)
                model.update(pairs)
            case 9:
                with db.batch() as batch:
                    for _ in range(random_.randrange(10)):
                        k = key()
                        if random_.random() < 0.3:
                            del batch[k]
                            model.pop(k, None)
                        else:
                            batch[k] = v
                            model[k] = v
            case 10:
                with pytest.raises(ZeroDivisionError), db.batch() as batch:
                    batch[k] = v
                    1 / 0
            case 11:
                keys = [key() for _ in range(5)]
                assert db.get_many(keys) == [model.get(k) for k in keys]
            case 12:
                assert db.get(k) == model.get(k)
            case 13:
                low, high = sorted([key(), key()])
                wanted = sorted((k, v) for k, v in model.items() if low <= k < high)
                assert list(db.items(start=low, stop=high)) == wanted
                assert list(db.items(start=low, stop=high, reverse=True)) == wanted[::-1]
            case 14:
                assert list(db.keys(k[:2])) == sorted(key for key in model if key.startswith(k[:2]))
            case 15:
                snapshots.append((db.snapshot(), dict(model)))
            case 16:
                if snapshots:
                    snapshot, then = snapshots.pop(random_.randrange(len(snapshots)))
                    assert dict(snapshot.items()) == then
                    snapshot.close()
            case 17:
                if random_.random() < 0.1:
                    for snapshot, then in snapshots:
                        assert snapshot == then
                        snapshot.close()
                    snapshots.clear()
                    db.close()
                    db = kvs.open(path)
                assert len(db) == len(model)
    assert list(db.items()) == sorted(model.items())
    db.close()
    with kvs.open(path, create=False) as again:
        assert again == model
