"""load: many pairs in steps, and what it shows meanwhile."""

import io
import re
import sys
from typing import Any

import pytest

import kvs


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def pairs(count: int) -> Any:
    return ((b"%06d" % n, b"%d" % n) for n in range(count))


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 5432])
def test_all_of_them(db: kvs.DB, count: int) -> None:
    seen: list[int] = []
    assert kvs.load(db, pairs(count), progress=seen.append) == count
    assert list(db.items()) == list(pairs(count))
    assert seen == [*range(1000, count, 1000), count][: -(-count // 1000)]


def test_mappings_and_typed_stores() -> None:
    with kvs.open(in_memory=True, codec="json", key_codec="utf-8") as typed:
        assert kvs.load(typed, {"a": [1], "b": {}}, step=1) == 2
        assert typed == {"a": [1], "b": {}}


def test_it_is_durable_in_the_end(path: Any) -> None:
    with kvs.open(path) as db:
        kvs.load(db, pairs(100), sync=False)
        assert db.property("durable_seq") < 100
        kvs.load(db, pairs(100))
        assert db.property("durable_seq") == db.property("visible_seq") == 200


def test_an_error_leaves_the_steps_before_it(db: kvs.DB) -> None:
    def broken() -> Any:
        yield from pairs(2500)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        kvs.load(db, broken())
    assert len(db) == 2000
    with pytest.raises(ValueError, match="step"):
        kvs.load(db, [], step=0)


@pytest.mark.parametrize("total", [None, 5000])
def test_a_bar_without_tqdm(db: kvs.DB, monkeypatch: pytest.MonkeyPatch, total: int | None) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    assert kvs.load(db, pairs(5000), total=total) == 5000
    of = re.escape(" of 5,000 (100%)") if total else ""
    assert re.search(rf"\rloaded 5,000{of} pairs, [0-9,]+/s +\n$", terminal.getvalue()), terminal.getvalue()


def test_a_bar_of_tqdm(db: kvs.DB, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    assert kvs.load(db, dict(pairs(5000)), progress=True) == 5000
    assert "5.00k/5.00k" in terminal.getvalue() and "100%" in terminal.getvalue()


def test_no_bar_where_nobody_looks(db: kvs.DB, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", nobody := io.StringIO())
    kvs.load(db, pairs(5000))
    assert nobody.getvalue() == ""
    monkeypatch.setattr(sys, "stderr", None)
    kvs.load(db, pairs(5000))
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    kvs.load(db, pairs(5000), progress=False)
    assert terminal.getvalue() == ""


def test_html(path: Any) -> None:
    """What a notebook shows: well-formed, escaped, and never an exception."""
    from xml.etree import ElementTree

    odd = path.parent / "<b>&\"'"
    with kvs.open(odd) as db:
        kvs.load(db, pairs(1234))
        root = ElementTree.fromstring(f"<div>{db._repr_html_()}</div>")
        text = " ".join(root.itertext())
        assert repr(db) in text
        rows = {row[0].text: row[1].text for row in root.iter("tr")}
        assert set(rows) == set(db.stats())
        assert rows["index_keys"] == "1,234"
    closed = ElementTree.fromstring(f"<div>{db._repr_html_()}</div>")
    assert "closed" in " ".join(closed.itertext()) and not list(closed.iter("tr"))
