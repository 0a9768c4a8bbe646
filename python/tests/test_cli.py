"""python -m kvs is the command line tool, and so is the script `kvs` that the package installs."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import kvs

MODULE = [sys.executable, "-m", "kvs"]
SCRIPT = [str(Path(sys.executable).with_name("kvs"))]


def tool(cwd: Path, *args: str, input: bytes = b"", command: list[str] = MODULE) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*command, *args], cwd=cwd, input=input, capture_output=True, timeout=60)


@pytest.mark.parametrize("command", [MODULE, SCRIPT], ids=["module", "script"])
def test_set_and_get(tmp_path: Path, command: list[str]) -> None:
    assert tool(tmp_path, "-d", "store", "set", "name", "Ada", command=command).returncode == 0
    result = tool(tmp_path, "-d", "store", "get", "name", command=command)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"Ada\n", b"")
    with kvs.open(tmp_path / "store") as db:
        assert dict(db) == {b"name": b"Ada"}


def test_exit_codes(tmp_path: Path) -> None:
    assert tool(tmp_path, "-d", "store", "rm", "missing").returncode == 1
    assert tool(tmp_path, "frobnicate").returncode == 2
    (tmp_path / "file").write_text("no store")
    assert tool(tmp_path, "-d", "file", "verify").returncode in (1, 3)
    with kvs.open(tmp_path / "store"):
        result = tool(tmp_path, "-d", "store", "set", "a", "b")
    assert result.returncode == 5
    assert str(os.getpid()).encode() in result.stderr


def test_help_and_version(tmp_path: Path) -> None:
    result = tool(tmp_path, "--help")
    assert result.returncode == 0 and b"Usage: kvs" in result.stdout
    assert kvs.__version__.encode() in tool(tmp_path, "--version").stdout


def test_dump_and_load(tmp_path: Path) -> None:
    with kvs.open(tmp_path / "a") as db:
        db.update({b"k%d" % n: os.urandom(n) for n in range(100)})
        wanted = dict(db)
    dump = tool(tmp_path, "-d", "a", "dump")
    loaded = tool(tmp_path, "-d", "b", "load", input=dump.stdout)
    assert (dump.returncode, loaded.returncode) == (0, 0)
    with kvs.open(tmp_path / "b") as db:
        assert db == wanted


def test_arguments_that_are_not_utf8(tmp_path: Path) -> None:
    raw = b"\xff\xfe"
    result = subprocess.run([*map(os.fsencode, MODULE), b"-d", b"store", b"set", raw, b"v"], cwd=tmp_path, capture_output=True)
    assert result.returncode == 0, result.stderr
    with kvs.open(tmp_path / "store") as db:
        assert list(db) == [raw]


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    with kvs.open(tmp_path / "store") as db:
        db.put_many((b"%06d" % n, b"x" * 100) for n in range(50_000))
    with subprocess.Popen([*MODULE, "-d", "store", "scan"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


def test_ctrl_c_ends_it(tmp_path: Path) -> None:
    """It runs outside of the interpreter, whose handler would only note the signal."""
    with subprocess.Popen(
        [*MODULE, "-d", "store", "load", "-"], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        until = time.monotonic() + 30
        while not (tmp_path / "store").exists() and time.monotonic() < until:
            time.sleep(0.01)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == -signal.SIGINT
        assert process.stdin is not None
        process.stdin.close()
    with kvs.open(tmp_path / "store") as db:
        assert len(db) == 0
