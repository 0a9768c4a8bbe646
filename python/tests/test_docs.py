"""Everything public is documented, and every example in the documentation runs and prints what it says."""

import doctest
import inspect
import pydoc
import subprocess
import sys
from pathlib import Path

import pytest

import kvs

HERE = Path(__file__).parent
README = HERE / "../../bindings/python/README.md"
RECIPES = HERE / "../../docs/python.md"
EXAMPLES = sorted((HERE / "../../bindings/python/examples").glob("*.py"))


def documented() -> dict[str, object]:
    things: dict[str, object] = {"kvs": kvs}
    for name in kvs.__all__:
        thing = getattr(kvs, name)
        if name.startswith("__"):
            continue
        things[name] = thing
        if inspect.isclass(thing):
            things |= {f"{name}.{member}": getattr(thing, member) for member in vars(thing) if not member.startswith("_")}
    return things


DOCUMENTED = {name: thing for name, thing in documented().items() if thing is not None}


@pytest.mark.parametrize("name", [name for name in DOCUMENTED if name.split(".")[-1] not in ("path", "offset", "errno")])
def test_docstring(name: str, tmp_path: Path) -> None:
    text = inspect.getdoc(DOCUMENTED[name])
    assert text, f"{name} has no docstring"
    test = doctest.DocTestParser().get_doctest(text, {"kvs": kvs, "tmp": tmp_path}, name, None, None)
    if inspect.isroutine(DOCUMENTED[name]) and name.split(".")[0] in ("DB", "open"):
        assert test.examples, f"{name} has no example"
    output: list[str] = []
    assert doctest.DocTestRunner().run(test, out=output.append).failed == 0, "".join(output)


def test_readme(tmp_path: Path) -> None:
    test = doctest.DocTestParser().get_doctest(README.read_text(), {"tmp": tmp_path}, "README.md", None, None)
    assert len(test.examples) > 15
    output: list[str] = []
    assert doctest.DocTestRunner().run(test, out=output.append).failed == 0, "".join(output)


def test_recipes(tmp_path: Path) -> None:
    """docs/python.md, as one program from top to bottom."""
    test = doctest.DocTestParser().get_doctest(RECIPES.read_text(), {"tmp": tmp_path}, "python.md", None, None)
    assert len(test.examples) > 30
    output: list[str] = []
    assert doctest.DocTestRunner().run(test, out=output.append).failed == 0, "".join(output)


def test_help_reads_well() -> None:
    """The first page says what there is; private names stay out of it."""
    text = pydoc.plain(pydoc.render_doc(kvs))
    for name in ("open(path", "aio.open", "dbm_open", "python -m kvs", "class DB", "get_many(", "log_backend"):
        assert name in text, name
    assert "_after_fork" not in text and "_panic" not in text


def test_project_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python of the project's README, as it stands there."""
    block = (HERE / "../../README.md").read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})
    with kvs.open("fruit") as db:
        assert len(db) == 3


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 3


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_example(example: Path, tmp_path: Path) -> None:
    for attempt in range(2):
        result = subprocess.run(
            [sys.executable, "-W", "error", str(example), str(tmp_path / "store")],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
        )
        assert (result.returncode, result.stderr) == (0, ""), attempt
        assert result.stdout
