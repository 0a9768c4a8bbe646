"""CPython's own tests of mappings, dbm and shelve, with a store in the place of theirs.

Each test that cannot hold stands in SKIPPED with its reason. They come from the interpreter's `test` package.
"""

import dbm
import pickle
import shelve
import tempfile
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import kvs

mapping_tests: Any = pytest.importorskip("test.mapping_tests", reason="this Python came without its test package")
test_dbm: Any = pytest.importorskip("test.test_dbm", reason="this Python came without its test package")

REFERENCE = {b"1": b"2", b"key1": b"value1", b"key2": b"(1, 2, 3)"}

# Keys that compare equal are equal bytes here: the tests' keys are str and small int.
ANYTHING: kvs.Codec[Any] = kvs.Codec("any", lambda key: pickle.dumps(key, 5), pickle.loads)

SKIPPED: dict[str, dict[str, str]] = {
    "Bytes": {
        "test_keys": "keys(None) is no error: the argument is a prefix, and None is none",
        "test_values": "values(None), as keys(None)",
        "test_items": "items(None), as keys(None)",
        "test_update": "the test's own mappings have keys that are str; see Anything",
    },
    "Anything": {
        "test_keys": "keys(None) is no error: the argument is a prefix, and None is none",
        "test_values": "values(None), as keys(None)",
        "test_items": "items(None), as keys(None)",
        "test_constructor": "a store is not made from keyword arguments",
        "test_fromkeys": "a store has no fromkeys: it would need a path",
        "test_popitem": "it copies the mapping; Bytes has the rest of it",
        "test_setdefault": "a list that was read is not the one in the store: appending to it writes nothing",
        "test_copy": "a store has no copy(): it would be two stores at one path",
    },
    "Shelf": {},
    "Dbm": {
        "test_error": "the test asks for the attribute `error` of dbm's modules; that ours are OSErrors is in test_errors.py",
    },
}


class Bytes(mapping_tests.BasicTestMappingProtocol):  # type: ignore[misc]
    """A plain store."""

    def _reference(self) -> dict[bytes, bytes]:
        return REFERENCE

    def _empty_mapping(self) -> kvs.DB:
        return kvs.open(in_memory=True)


class Anything(mapping_tests.TestMappingProtocol):  # type: ignore[misc]
    """A store with a codec that takes what the tests write: str, int and tuples."""

    def _empty_mapping(self) -> kvs.TypedDB[Any, Any]:
        return kvs.open(in_memory=True, codec="pickle", key_codec=ANYTHING)


class Shelf(mapping_tests.BasicTestMappingProtocol):  # type: ignore[misc]
    """shelve over dbm_open."""

    type2test = shelve.Shelf

    def _reference(self) -> dict[str, object]:
        return {"key1": "value1", "key2": 2, "key3": (1, 2, 3)}

    def _empty_mapping(self) -> Any:
        shelf: Any = shelve.Shelf(kvs.dbm_open(tempfile.mkdtemp(dir=self.directory), "c"))
        self.addCleanup(shelf.close)
        return shelf

    def setUp(self) -> None:
        self.directory = self.enterContext(tempfile.TemporaryDirectory())


class Dbm(test_dbm.AnyDBMTestCase, unittest.TestCase):  # type: ignore[misc]
    """dbm.open replaced by dbm_open."""

    def setUp(self) -> None:
        directory = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.enterContext(mock.patch.object(test_dbm, "_fname", str(directory / "store")))
        self.enterContext(mock.patch.object(dbm, "open", kvs.dbm_open))
        # A test writes into the dictionary of its class.
        self._dict = dict(test_dbm.AnyDBMTestCase._dict)


def cases() -> list[Any]:
    found = []
    for class_ in Bytes, Anything, Shelf, Dbm:
        reasons = dict(SKIPPED[class_.__name__])
        for name in unittest.TestLoader().getTestCaseNames(class_):
            reason = reasons.pop(name, None)
            marks = [pytest.mark.skip(reason=reason)] if reason else []
            found.append(pytest.param(class_, name, id=f"{class_.__name__}-{name}", marks=marks))
    return found


# Not for pytest to collect by themselves.
for each in Bytes, Anything, Shelf, Dbm:
    each.__test__ = False


@pytest.mark.parametrize(("class_", "name"), cases())
def test_of_cpython(class_: Any, name: str) -> None:
    result = unittest.TestResult()
    class_(name).run(result)
    assert result.testsRun == 1
    assert not result.skipped
    assert result.wasSuccessful(), "\n".join(text for _, text in result.failures + result.errors)


def test_most_of_them_run() -> None:
    names = [case.values[1] for case in cases() if not case.marks]
    assert len(names) >= 35, names
