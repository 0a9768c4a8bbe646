"""Where the package cannot be used, it says so: subinterpreters get an ImportError, and harm nobody.

multiprocessing by forkserver and by spawn works; by fork, the parent's store is refused (test_fork.py).
"""

import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

SUB = """
import sys
try:
    from _interpreters import create, exec as run, destroy   # 3.13
except ImportError:
    from _xxsubinterpreters import create, run_string as run, destroy
"""


@pytest.mark.parametrize("first", ["main", "sub"])
def test_a_subinterpreter_gets_an_import_error(run: Callable[..., CompletedProcess[str]], first: str) -> None:
    """It could import the module, and its end then closed the stores of the main interpreter, by a function of its atexit."""
    script = (
        SUB
        + """
code = '''
try:
    import kvs
except ImportError as error:
    assert "subinterpreters" in str(error), error
    print("refused", flush=True)
else:
    print("imported", flush=True)
'''
if sys.argv[1] == "main":
    import kvs
    db = kvs.open("store")
    db[b"k"] = b"v"
for _ in range(3):
    sub = create()
    run(sub, code)
    destroy(sub)
    if sys.argv[1] == "main":
        assert db[b"k"] == b"v"
        view = db.get_view(b"k")
import kvs
with kvs.open("other") as other:
    other[b"k"] = b"v"
"""
    )
    result = run(script, first)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.split() == ["refused"] * 3


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_workers_open_stores_of_their_own(path: Path, method: str) -> None:
    script = """
import multiprocessing, os, sys, kvs

def count(path):
    with kvs.open(path, read_only=True) as db:
        return os.getpid(), len(db)

def write(path):
    try:
        with kvs.open(path) as db:
            db[b"other"] = b"v"
            return "written"
    except kvs.LockedError:
        return "locked"

def send(db):
    try:
        multiprocessing.reduction.ForkingPickler.dumps(db)
    except TypeError as error:
        assert "send its path" in str(error)
        return
    sys.exit("a store was sent")

if __name__ == "__main__":
    import multiprocessing.reduction
    method, path = sys.argv[1:]
    with kvs.open(path) as db:
        db.put_many((b"%d" % n, b"") for n in range(100))
        send(db)
        with multiprocessing.get_context(method).Pool(2) as pool:
            assert pool.map(write, [path] * 4) == ["locked"] * 4
            db.close()
            results = pool.map(count, [path] * 4)
    assert {length for _, length in results} == {100}, results
    assert os.getpid() not in {pid for pid, _ in results}
"""
    file = path.parent / "workers.py"
    file.write_text(script)
    result = subprocess.run(
        [sys.executable, "-W", "error", str(file), method, str(path)], capture_output=True, text=True, timeout=60, cwd=path.parent
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_free_threading_is_not_claimed() -> None:
    """The wheel is for builds with a GIL. A build without one is another ABI, which pip does not install this wheel into."""
    assert not sysconfig.get_config_var("Py_GIL_DISABLED")
