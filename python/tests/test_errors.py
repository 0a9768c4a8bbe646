"""The exception tree, what an exception carries, and that panics are exceptions."""

import errno
import os
import pickle
from pathlib import Path

import pytest

import kvs
from kvs import _kvs

TREE: dict[type[kvs.Error], tuple[type[Exception], ...]] = {
    kvs.Error: (Exception,),
    kvs.ClosedError: (kvs.Error, ValueError),
    kvs.LockedError: (kvs.Error, OSError),
    kvs.CorruptionError: (kvs.Error, OSError),
    kvs.ReadOnlyError: (kvs.Error, OSError),
    kvs.NoSpaceError: (kvs.Error, OSError),
    kvs.IoError: (kvs.Error, OSError),
    kvs.PoisonedError: (kvs.Error, OSError),
    kvs.NotADatabaseError: (kvs.Error, OSError),
    kvs.NewerFormatError: (kvs.Error, OSError),
    kvs.ConflictError: (kvs.Error, RuntimeError),
    kvs.WouldBlockError: (kvs.Error, BlockingIOError),
    kvs.InterruptedError: (kvs.Error, InterruptedError),
    kvs.ForkedError: (kvs.Error, RuntimeError),
    kvs.InvalidArgument: (kvs.Error, ValueError),
    kvs.TooLargeError: (kvs.InvalidArgument,),
    kvs.InternalError: (kvs.Error, RuntimeError),
    kvs.DbmClosedError: (kvs.ClosedError, OSError),
}


@pytest.mark.parametrize("class_", TREE, ids=lambda class_: class_.__name__)
def test_the_tree(class_: type[kvs.Error]) -> None:
    assert class_.__bases__ == TREE[class_]
    assert class_.__module__ == "kvs"
    assert class_.__doc__
    error = class_("message")
    assert str(error) == "message"
    assert (error.path, error.offset, error.errno) == (None, None, None)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is class_ and str(again) == "message"


def test_the_tree_is_complete() -> None:
    exceptions = {
        value
        for value in (getattr(kvs, name) for name in kvs.__all__)
        if isinstance(value, type) and issubclass(value, BaseException)
    }
    assert exceptions == set(TREE)


def test_each_is_also_what_programs_catch() -> None:
    for class_ in TREE:
        if class_ is not kvs.Error:
            assert issubclass(class_, (OSError, ValueError, RuntimeError)), class_


def test_errno_of_each_os_error() -> None:
    """`Error.errno` is None, and must not hide what OSError takes from its arguments."""
    for class_ in TREE:
        if issubclass(class_, OSError):
            error = class_(errno.EIO, "message")
            assert (error.errno, error.strerror) == (errno.EIO, "message"), class_


def test_a_held_lock_names_path_and_holder(tmp_path: Path) -> None:
    with kvs.open(tmp_path), pytest.raises(kvs.LockedError) as caught:
        kvs.open(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert str(os.getpid()) in str(caught.value)


def test_errno_and_path(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "store"
    with pytest.raises(kvs.IoError) as caught:
        kvs.open(path)
    error = caught.value
    assert isinstance(error, OSError)
    assert error.errno == errno.ENOENT
    assert error.path == str(path)
    assert error.offset is None
    assert str(path) in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.errno, again.path, str(again)) == (kvs.IoError, error.errno, error.path, str(error))


def test_too_large_is_an_invalid_argument(db: kvs.DB) -> None:
    with pytest.raises(ValueError, match="too large|bytes") as caught:
        db[bytes(1 << 20)] = b""
    assert type(caught.value) is kvs.TooLargeError


@pytest.mark.parametrize("in_thread", [False, True])
def test_a_panic_is_an_internal_error(capfd: pytest.CaptureFixture[str], in_thread: bool) -> None:
    """pyo3 would raise PanicException, a BaseException that `except Exception` lets through."""
    with pytest.raises(kvs.InternalError, match="please report it: panic: boom") as caught:
        _kvs._panic("boom", in_thread)
    assert isinstance(caught.value, Exception)
    capfd.readouterr()
