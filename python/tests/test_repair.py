"""repair: a damaged store's good records, and an honest list of the rest."""

from pathlib import Path

import pytest

import kvs


def damaged(path: Path) -> Path:
    with kvs.open(path) as db:
        db.put_many((b"%05d" % n, b"value %05d" % n * 20) for n in range(2000))
        db.flush()
    table = max((file for file in path.iterdir() if file.is_file()), key=lambda file: file.stat().st_size)
    content = bytearray(table.read_bytes())
    middle = content.find(b"value 01000")
    content[middle : middle + 10] = bytes(10)
    table.write_bytes(content)
    return table


def test_an_undamaged_store(path: Path, tmp_path: Path) -> None:
    with kvs.open(path) as db:
        db.put_many((b"%d" % n, b"x") for n in range(100))
    report = kvs.repair(path, str(tmp_path / "out"), block_bytes=1024)
    assert (report.keys, report.left_out, report.is_complete) == (100, [], True)
    assert report.bytes == 290
    assert report.files >= 1
    assert str(report).startswith("kept: 100 keys")
    assert repr(report) == "<kvs.Repaired: 100 keys kept, 0 parts left out>"
    with kvs.open(tmp_path / "out", create=False) as db, kvs.open(path) as old:
        assert db == old


def test_a_damaged_table(path: Path, tmp_path: Path) -> None:
    table = damaged(path)
    with kvs.open(path) as db, pytest.raises(kvs.CorruptionError) as caught:
        list(db.items())
    assert isinstance(caught.value, OSError)
    assert caught.value.path == str(table) and caught.value.offset is not None
    report = kvs.repair(path, tmp_path / "out")
    assert not report.is_complete
    assert 1500 < report.keys < 2000
    with kvs.open(tmp_path / "out", create=False) as db:
        assert len(db) == report.keys
        for n in range(2000):
            key = b"%05d" % n
            if key in db:
                assert db[key] == b"value %05d" % n * 20
            else:
                assert any(part.covers(key) for part in report.left_out), key
    for part in report.left_out:
        assert part.file == str(table)
        assert 0 <= part.span[0] < part.span[1] <= table.stat().st_size
        assert part.why and part.why in str(part) and str(part) in repr(part)
        first, stop = part.keys
        assert first is None or stop is None or first < stop
        assert part.records is None or part.records > 0


def test_errors(path: Path, tmp_path: Path) -> None:
    with pytest.raises(kvs.NotADatabaseError):
        kvs.repair(tmp_path / "missing", tmp_path / "out")
    with kvs.open(path) as db:
        db[b"k"] = b"v"
        with pytest.raises(kvs.LockedError):
            kvs.repair(path, tmp_path / "out")
    with pytest.raises(kvs.InvalidArgument):
        kvs.repair(path, path)
    with pytest.raises(kvs.InvalidArgument, match="colour"):
        kvs.repair(path, tmp_path / "out", colour="red")
    with pytest.raises(TypeError):
        kvs.repair(path, None)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
