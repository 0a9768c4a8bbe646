"""What the tests share: stores to work on, and Python run in a process of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import kvs

# A shell that is not interactive starts what runs in its background with SIGINT ignored, and Python leaves that alone: then no Ctrl-C
# is ever seen, here or in a child. Tests of it are for a program that somebody can interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(params=["disk", "memory"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[kvs.DB]:
    """An empty store, in both of its forms."""
    store = kvs.open(in_memory=True) if request.param == "memory" else kvs.open(tmp_path / "store")
    with store:
        yield store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a store may be made."""
    return tmp_path / "store"


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a script in a new interpreter. A hang is a failure, not a wait."""

    def run(script: str, *args: object, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONFAULTHANDLER": "1", "PYTHONWARNINGS": "error,ignore::DeprecationWarning"}
        return subprocess.run(
            [sys.executable, "-c", script, *map(str, args)],
            capture_output=True,
            text=True,
            timeout=seconds,
            cwd=tmp_path,
            env=environment,
        )

    return run
