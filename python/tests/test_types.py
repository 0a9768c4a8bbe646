"""The type stub says what the module does, and is usable by programs that are checked strictly."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def check(cwd: Path, *command: str) -> None:
    result = subprocess.run([sys.executable, *command], cwd=cwd, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_stub_is_the_module(tmp_path: Path) -> None:
    check(tmp_path, "-m", "mypy.stubtest", "kvs")


def test_a_typed_program(tmp_path: Path) -> None:
    check(tmp_path, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), str(HERE / "typed_sample.py"))
    check(tmp_path, str(HERE / "typed_sample.py"), str(tmp_path / "store"))
    for example in sorted((HERE / "../../bindings/python/examples").glob("*.py")):
        check(tmp_path, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), str(example))


def test_these_tests(tmp_path: Path) -> None:
    files = [str(file) for file in sorted(HERE.glob("*.py")) if file.name != "typed_sample.py"]
    check(tmp_path, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), *files)
