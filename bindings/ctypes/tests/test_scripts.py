"""Every script of tests/scripts, played over kvs_ctypes."""

import importlib.util
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any, List, Optional

import kvs_ctypes

_SCRIPTS = Path(__file__).resolve().parents[3] / "tests" / "scripts"
_spec = importlib.util.spec_from_file_location("replay", _SCRIPTS / "replay.py")
assert _spec and _spec.loader
replay = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(replay)


class Store:
    """The operations of scripts, as kvs_ctypes has them."""

    def __init__(self, db: kvs_ctypes.Database) -> None:
        self.db = db
        self.flush, self.sync, self.verify, self.compact = db.flush, db.sync, db.verify, db.compact
        self.close, self.snapshot, self.delete_range = db.close, db.snapshot, self._delete_range

    @staticmethod
    def status_of(error: Exception) -> str:
        if not isinstance(error, kvs_ctypes.Error) or not error.message:
            raise error
        return error.name

    @classmethod
    def open(cls, path: Optional[Path], options: "dict[str, str]") -> "Store":
        typed: "dict[str, Any]" = dict(options)
        for name, value in options.items():
            if value in ("true", "false"):
                typed[name] = value == "true"
        if path is None:
            typed["in_memory"] = True
        return cls(kvs_ctypes.open(path, **typed))

    @staticmethod
    def repair(path: Path, new: Path) -> None:
        assert kvs_ctypes.repair(path, new).text

    def put(self, key: bytes, value: bytes, sync: bool) -> None:
        self.db.put(key, value, sync=sync)

    def delete(self, key: bytes, sync: bool) -> None:
        self.db.delete(key, sync=sync)

    def _delete_range(self, start: Optional[bytes], stop: Optional[bytes], sync: bool) -> None:
        self.db.delete_range(start, stop, sync=sync)

    def write(self, writes: "list[tuple[Any, ...]]", sync: bool) -> None:
        with self.db.batch(sync=sync) as batch:
            if len(writes) > 20:
                batch.put_many((key, value) for _, key, value in writes)
                return
            for kind, *arguments in writes:
                {"put": batch.put, "delete": batch.delete, "delete-range": batch.delete_range}[kind](*arguments)

    def get(self, snapshot: Any, key: bytes) -> Optional[bytes]:
        of = snapshot or self.db
        value = of.get(key)
        view = of.get_view(key)
        assert value == (None if view is None else bytes(view)), "get and get_view differ"
        return value

    def contains(self, snapshot: Any, key: bytes) -> bool:
        return (snapshot or self.db).contains(key)

    def get_many(self, snapshot: Any, keys: List[bytes]) -> "list[Optional[bytes]]":
        return (snapshot or self.db).get_many(keys)

    def scan(self, snapshot: Any, range_: Any, reverse: bool, limit: Optional[int]) -> "list[tuple[bytes, bytes]]":
        found = []
        for pair in (snapshot or self.db).items(*range_, reverse=reverse):
            if len(found) == limit:
                break
            found.append(pair)
        return found

    def release(self, snapshot: Any) -> None:
        snapshot.close()

    def cursor(self, snapshot: Any, range_: Any) -> Any:
        return (snapshot or self.db).iterator(*range_)

    def move(self, cursor: Any, move: str, key: Optional[bytes]) -> "Optional[tuple[bytes, bytes]]":
        if move != "item":
            arguments = () if key is None else (key,)
            is_on = getattr(cursor, move.replace("-", "_"))(*arguments)
            assert is_on == (cursor.item() is not None)
        return cursor.item()

    def drop(self, cursor: Any) -> None:
        cursor.close()

    def stat(self, name: str) -> int:
        return self.db.stats()[name]


class Scripts(unittest.TestCase):
    def test_scripts(self) -> None:
        """All of them; each in a directory of its own."""
        count = 0
        for script in replay.scripts():
            with self.subTest(script.name), tempfile.TemporaryDirectory() as directory:
                replay.replay(script, Store, Path(directory))
            count += 1
        self.assertGreaterEqual(count, 200)

    def test_the_histories_are_those_of_the_model(self) -> None:
        """What stands in random-*.txt is what generate.py writes: nobody made one fit the engine."""
        command = [sys.executable, str(_SCRIPTS / "generate.py"), "--check"]
        subprocess.run(command, check=True, timeout=60)

    def test_a_wrong_expectation_fails(self) -> None:
        """As do an unknown operation, an unknown word, and a script that expects nothing."""
        bad = [
            ('open db\nput "k" "v"\nget "k" -> "w"\n', replay.Mismatch),
            ('open db\nput "k" "v" -> KVS_E_CLOSED\n', replay.Mismatch),
            ('open db\nscan -> "a"="1"\n', replay.Mismatch),
            ("open db\nfrobnicate -> KVS_OK\n", replay.BadScript),
            ('open db\nput "k" "v" quickly -> KVS_OK\n', replay.BadScript),
            ('open db\nput "k" "v"\n', replay.BadScript),
            ('open db\nput "k" "v"\nget "k"\nflush -> KVS_OK\n', replay.BadScript),
        ]
        for text, error in bad:
            with self.subTest(text), tempfile.TemporaryDirectory() as directory:
                script = Path(directory, "script.txt")
                script.write_text("# A bad one.\n" + text)
                with self.assertRaises(error):
                    replay.replay(script, Store, Path(directory))


if __name__ == "__main__":
    unittest.main()
