"""A batch is written on a clean exit, whole, and discarded on an exception."""

import pytest

import kvs


def test_written_on_a_clean_exit(db: kvs.DB) -> None:
    db.update({b"gone": b"1", b"gone too": b"2"})
    with db.batch() as batch:
        batch.put(b"a", b"1")
        batch[b"b"] = b"2"
        batch.delete(b"gone")
        del batch[b"gone too"]
        del batch[b"never there"]
        assert len(batch) == 5
        assert dict(db) == {b"gone": b"1", b"gone too": b"2"}, "nothing is visible before the end"
    assert dict(db) == {b"a": b"1", b"b": b"2"}


def test_the_last_write_wins(db: kvs.DB) -> None:
    with db.batch() as batch:
        batch[b"k"] = b"1"
        del batch[b"k"]
        batch[b"k"] = b"2"
        batch[b"x"] = b"1"
        del batch[b"x"]
    assert dict(db) == {b"k": b"2"}


def test_a_range_removes_what_was_before_it(db: kvs.DB) -> None:
    db.update({b"a": b"old", b"b": b"old", b"c": b"old"})
    with db.batch() as batch:
        batch[b"a1"] = b"before"
        batch.delete_range(b"a", b"c")
        batch[b"b"] = b"after"
        assert len(batch) == 3
    assert dict(db) == {b"b": b"after", b"c": b"old"}
    with db.batch() as batch:
        batch.delete_range()
    assert dict(db) == {}


def test_discarded_on_an_exception(db: kvs.DB) -> None:
    for raised in ZeroDivisionError, KeyboardInterrupt, SystemExit:
        with pytest.raises(raised), db.batch() as batch:
            batch[b"k"] = b"v"
            raise raised
        assert len(db) == 0
        with pytest.raises(kvs.InvalidArgument, match="written or discarded"):
            batch[b"k"] = b"v"


def test_finished_batches(db: kvs.DB) -> None:
    with db.batch() as batch:
        batch[b"k"] = b"v"
    for call in (
        lambda: batch.put(b"k", b"w"),
        lambda: batch.delete(b"k"),
        lambda: batch.delete_range(),
        lambda: len(batch),
        lambda: batch.__enter__(),
    ):
        with pytest.raises(kvs.InvalidArgument):
            call()
    assert repr(batch) == "<kvs.Batch, finished>"
    assert db[b"k"] == b"v"


def test_a_batch_that_is_never_entered_writes_nothing(db: kvs.DB) -> None:
    batch = db.batch()
    batch[b"k"] = b"v"
    assert repr(batch) == "<kvs.Batch of 1 writes>"
    del batch
    assert len(db) == 0


def test_an_unusable_write_spoils_all(db: kvs.DB) -> None:
    with pytest.raises(kvs.TooLargeError), db.batch() as batch:
        batch[b"k"] = b"v"
        batch[bytes(1 << 20)] = b"key too long"
    assert len(db) == 0
    with pytest.raises(TypeError), db.batch() as batch:
        batch[b"k"] = b"v"
        batch[b"x"] = 5  # type: ignore[assignment]
    assert len(db) == 0


def test_closed_while_the_batch_is_open(db: kvs.DB) -> None:
    with pytest.raises(kvs.ClosedError), db.batch() as batch:
        batch[b"k"] = b"v"
        db.close()


def test_buffers_are_copied_at_once(db: kvs.DB) -> None:
    buffer = bytearray(b"before")
    with db.batch() as batch:
        batch[b"k"] = buffer
        buffer[:] = b"after!"
    assert db[b"k"] == b"before"
