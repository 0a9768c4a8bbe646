"""A store against a dict, by rules that hypothesis puts together: it finds the shortest sequence that goes wrong.

Rules write alone, in batches and from threads, read in every way, take snapshots and iterators and look at them later, flush, merge and
reopen. Keys are few and short, so that they meet.
"""

import itertools
import shutil
import tempfile
from bisect import bisect_left, bisect_right
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

import kvs

keys = st.binary(max_size=3).map(lambda key: bytes(b % 4 for b in key)) | st.sampled_from([b"", b"\xff", b"\xff\xff", b"long" * 50])
values = st.binary(max_size=8) | st.integers(0, 5000).map(lambda n: b"v" * n)
bounds = st.none() | keys
pairs = st.lists(st.tuples(keys, values), max_size=6)
syncs = st.sampled_from([None, True, False])


class Store(RuleBasedStateMachine):
    """One store, its model, and what was taken of both."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.model: dict[bytes, bytes] = {}
        self.snapshots: list[tuple[kvs.Snapshot, dict[bytes, bytes]]] = []
        self.views: list[tuple[memoryview, bytes]] = []
        self.iterators: list[tuple[Any, Any, list[tuple[bytes, bytes]], list[int], bool]] = []
        self.options: dict[str, Any] = {}

    @initialize(small=st.booleans(), table_io=st.sampled_from(["auto", "positioned"]), log_backend=st.sampled_from(["auto", "positioned"]))
    def begin(self, small: bool, table_io: str, log_backend: str) -> None:
        self.options = {"table_io": table_io, "log_backend": log_backend}
        if small:
            self.options |= {"segment_bytes_min": "4k", "segment_bytes_max": "8k", "memtable_bytes_max": "16k", "table_bytes_max": "8k"}
        self.open()

    def open(self) -> None:
        self.db = kvs.open(self.directory / "store", **self.options)

    def teardown(self) -> None:
        if hasattr(self, "db"):
            for view, value in self.views:
                assert view == value
            self.db.close()
        shutil.rmtree(self.directory)

    def inside(self, start: bytes | None, stop: bytes | None) -> list[tuple[bytes, bytes]]:
        return sorted((k, v) for k, v in self.model.items() if (start is None or k >= start) and (stop is None or k < stop))

    @rule(key=keys, value=values, sync=syncs)
    def put(self, key: bytes, value: bytes, sync: bool | None) -> None:
        self.db.put(key, value, sync=sync)
        self.model[key] = value

    @rule(key=keys, sync=syncs)
    def delete(self, key: bytes, sync: bool | None) -> None:
        self.db.delete(key, sync=sync)
        self.model.pop(key, None)

    @rule(start=bounds, stop=bounds)
    def delete_range(self, start: bytes | None, stop: bytes | None) -> None:
        self.db.delete_range(start, stop)
        for key, _ in self.inside(start, stop):
            del self.model[key]

    @rule(pairs=pairs)
    def update(self, pairs: list[tuple[bytes, bytes]]) -> None:
        self.db.update(pairs)
        self.model.update(pairs)

    @rule(writes=st.lists(st.tuples(st.sampled_from("pdr"), keys, values), max_size=6), fails=st.booleans(), sync=syncs)
    def batch(self, writes: list[tuple[str, bytes, bytes]], fails: bool, sync: bool | None) -> None:
        before = dict(self.model)
        try:
            with self.db.batch(sync=sync) as batch:
                for kind, key, value in writes:
                    if kind == "p":
                        batch[key] = value
                        self.model[key] = value
                    elif kind == "d":
                        del batch[key]
                        self.model.pop(key, None)
                    else:
                        batch.delete_range(key, key + b"\x02")
                        for inside, _ in self.inside(key, key + b"\x02"):
                            del self.model[inside]
                if fails:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            self.model = before

    @rule(key=keys, default=values)
    def pop_and_setdefault(self, key: bytes, default: bytes) -> None:
        assert self.db.pop(key, None) == self.model.pop(key, None)
        assert self.db.setdefault(key, default) == self.model.setdefault(key, default)

    @precondition(lambda self: self.model)
    @rule()
    def popitem(self) -> None:
        key = min(self.model)
        assert self.db.popitem() == (key, self.model.pop(key))

    @rule(values=st.lists(values, min_size=2, max_size=4))
    def threads(self, values: list[bytes]) -> None:
        """Each writes keys of its own and reads them at once."""

        def work(n: int) -> None:
            for m in range(5):
                key = b"thread %d %d" % (n, m)
                self.db[key] = values[n]
                assert self.db[key] == values[n]

        with ThreadPoolExecutor(len(values)) as pool:
            list(pool.map(work, range(len(values))))
        self.model.update({b"thread %d %d" % (n, m): value for n, value in enumerate(values) for m in range(5)})

    @rule(key=keys, some=st.lists(keys, max_size=5))
    def get(self, key: bytes, some: list[bytes]) -> None:
        assert self.db.get(key) == self.model.get(key)
        assert (key in self.db) == (key in self.model)
        assert self.db.get_many(some) == [self.model.get(each) for each in some]
        if key in self.model:
            with self.db.get_view(key) as view:
                assert view == self.model[key]

    @rule(prefix=bounds, start=bounds, stop=bounds, reverse=st.booleans(), limit=st.none() | st.integers(0, 5))
    def scan(self, prefix: bytes | None, start: bytes | None, stop: bytes | None, reverse: bool, limit: int | None) -> None:
        wanted = [pair for pair in self.inside(start, stop) if pair[0].startswith(prefix or b"")]
        wanted = (wanted[::-1] if reverse else wanted)[:limit]
        view = self.db.items(prefix, start=start, stop=stop, reverse=reverse, limit=limit)
        assert list(view) == wanted
        assert len(view) == len(wanted)

    @precondition(lambda self: len(self.snapshots) < 4)
    @rule()
    def take_snapshot(self) -> None:
        self.snapshots.append((self.db.snapshot(), dict(self.model)))

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data())
    def look_at_snapshot(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.snapshots) - 1))
        snapshot, then = self.snapshots[at]
        assert snapshot == then
        if data.draw(st.booleans()):
            snapshot.close()
            del self.snapshots[at]

    @precondition(lambda self: self.model and len(self.views) < 5)
    @rule(data=st.data())
    def take_view(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.model)))
        self.views.append((self.db.get_view(key), self.model[key]))

    @precondition(lambda self: self.views)
    @rule(release=st.booleans())
    def look_at_view(self, release: bool) -> None:
        view, value = self.views.pop(0)
        assert view == value
        if release:
            view.release()

    @precondition(lambda self: len(self.iterators) < 3)
    @rule(start=bounds, stop=bounds, reverse=st.booleans())
    def take_iterator(self, start: bytes | None, stop: bytes | None, reverse: bool) -> None:
        iterator = iter(self.db.items(start=start, stop=stop, reverse=reverse))
        self.iterators.append((iterator, None, self.inside(start, stop), [0], reverse))

    @precondition(lambda self: self.iterators)
    @rule(steps=st.integers(1, 5), key=bounds)
    def move_iterator(self, steps: int, key: bytes | None) -> None:
        iterator, _, pairs, at, reverse = self.iterators.pop(0)
        walk = pairs[::-1] if reverse else pairs
        if key is not None:
            order = [each for each, _ in pairs]
            at[0] = len(order) - bisect_right(order, key) if reverse else bisect_left(order, key)
            assert iterator.seek(key) == (at[0] < len(walk))
        assert list(itertools.islice(iterator, steps)) == walk[at[0] : at[0] + steps]
        at[0] += steps
        if at[0] <= len(walk):
            self.iterators.append((iterator, None, pairs, at, reverse))

    @rule()
    def flush(self) -> None:
        self.db.flush()

    @rule(start=bounds, stop=bounds)
    def compact(self, start: bytes | None, stop: bytes | None) -> None:
        self.db.compact(start, stop)

    @rule()
    def verify(self) -> None:
        self.db.verify()

    @rule()
    def clear(self) -> None:
        self.db.clear()
        self.model.clear()

    @rule()
    def reopen(self) -> None:
        snapshots, self.snapshots, self.iterators = self.snapshots, [], []
        self.db.close()
        for snapshot, _ in snapshots:
            with pytest.raises(kvs.ClosedError):
                snapshot.get(b"k")
        self.open()

    @invariant()
    def same(self) -> None:
        if hasattr(self, "db"):
            assert len(self.db) == len(self.model)
            assert list(self.db) == sorted(self.model)


# Many short ones, and some long ones.
@pytest.mark.parametrize(("examples", "steps"), [(40, 25), (8, 120)])
def test_store(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        Store,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
