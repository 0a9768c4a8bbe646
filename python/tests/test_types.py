"""The types say what the package does, and are usable by programs that are checked strictly, by mypy and by pyright."""

import subprocess
import sys
from pathlib import Path

import pytest

import kvs

HERE = Path(__file__).parent


def check(cwd: Path, *command: str) -> None:
    result = subprocess.run([sys.executable, *command], cwd=cwd, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What mypy knows of the standard library it has to find out once."""
    return tmp_path_factory.mktemp("mypy")


def test_the_stub_is_the_module(tmp_path: Path) -> None:
    check(tmp_path, "-m", "mypy.stubtest", "kvs")


def test_the_package_itself(tmp_path: Path, cache: Path) -> None:
    """The sources, and not the installed copy: there mypy tells less."""
    check(tmp_path, "-m", "mypy", "--strict", "--config-file", str(HERE / "../../pyproject.toml"), "--cache-dir", str(cache), str(HERE / "../kvs"))


def test_pyright(tmp_path: Path) -> None:
    """The package, the typed program and the examples, with the rules of pyproject.toml."""
    places = [str(Path(kvs.__file__).parent), str(HERE / "typed_sample.py"), str(HERE / "../../bindings/python/examples")]
    check(tmp_path, "-m", "pyright", "--pythonpath", sys.executable, "--project", str(HERE / "../../pyproject.toml"), *places)


def test_a_typed_program(tmp_path: Path, cache: Path) -> None:
    check(tmp_path, "-m", "mypy", "--strict", "--cache-dir", str(cache), str(HERE / "typed_sample.py"))
    check(tmp_path, str(HERE / "typed_sample.py"), str(tmp_path / "store"))
    for example in sorted((HERE / "../../bindings/python/examples").glob("*.py")):
        check(tmp_path, "-m", "mypy", "--strict", "--cache-dir", str(cache), str(example))


def test_these_tests(tmp_path: Path, cache: Path) -> None:
    files = [str(file) for file in sorted(HERE.glob("*.py")) if file.name != "typed_sample.py"]
    check(tmp_path, "-m", "mypy", "--strict", "--cache-dir", str(cache), *files)
