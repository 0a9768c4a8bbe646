"""What the module adds to the C interface: Python's types, exceptions and lifetimes. What the engine does is in test_scripts.py."""

import array
import ctypes
import doctest
import gc
import os
import pickle
import random
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

import kvs_ctypes as kvs

HERE = Path(__file__).resolve().parent.parent


class Case(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.tmp = Path(scratch.name)

    def memory(self, **options: Any) -> kvs.Database:
        db = kvs.open(in_memory=True, **options)
        self.addCleanup(db.close)
        return db

    def run_python(self, script: str) -> "subprocess.CompletedProcess[str]":
        environment = {**os.environ, "PYTHONPATH": str(HERE), "PYTHONFAULTHANDLER": "1"}
        command = [sys.executable, "-W", "error", "-c", script, str(self.tmp)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)


class Documents(Case):
    def test_examples_in_the_documents(self) -> None:
        self.assertEqual(doctest.testmod(kvs, extraglobs={"tmp": self.tmp}).failed, 0)
        result = doctest.testfile(str(HERE / "README.md"), module_relative=False, globs={"tmp": self.tmp})
        self.assertEqual(result.failed, 0)
        self.assertGreater(result.attempted, 10)

    def test_the_example(self) -> None:
        example = HERE / "examples" / "word_count.py"
        environment = {**os.environ, "PYTHONPATH": str(HERE)}
        for times in (1, 2):
            # Counts add up over runs.
            text = "the cat and the dog and the bird\n" * 3
            command = [sys.executable, str(example), str(self.tmp / "counts")]
            run = subprocess.run(command, input=text, capture_output=True, text=True, env=environment, check=True)
            expected = "".join("%6d %s\n" % (times * 3 * n, word) for n, word in [(3, "the"), (2, "and"), (1, "bird")])
            self.assertEqual(run.stdout, expected)

    def test_the_benchmark_runs(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(HERE)}
        command = [sys.executable, str(HERE / "bench.py"), "--keys", "500", "--rounds", "2"]
        run = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
        for row in ("kvs_abi_version()", "get", "put", "scanned entry"):
            self.assertIn(row, run.stdout)


class Loading(Case):
    def test_where_the_library_is_found(self) -> None:
        path = os.environ["KVS_LIBRARY"]
        self.assertEqual(kvs.Library(path).abi_version(), 0)
        self.assertEqual(kvs.Library(Path(path)).version(), kvs.Library().version())
        with kvs.open(in_memory=True, library=path) as db:
            db[b"k"] = b"v"
        unraisable: "list[Any]" = []
        with mock.patch.object(sys, "unraisablehook", unraisable.append):
            for load in (kvs.Library, lambda path: kvs.open(self.tmp / "store", library=path), kvs.Batch):
                with self.assertRaises(OSError):
                    load(str(self.tmp / "missing.so"))
            gc.collect()
        self.assertEqual(unraisable, [])
        with mock.patch.dict(os.environ, KVS_LIBRARY=str(self.tmp / "missing.so")), self.assertRaises(OSError):
            kvs.Library()
        # What the loader finds under the name with the ABI's number.
        os.symlink(path, self.tmp / "libkvs.so.0")
        environment = {**os.environ, "PYTHONPATH": str(HERE), "LD_LIBRARY_PATH": str(self.tmp)}
        del environment["KVS_LIBRARY"]
        script = "import kvs_ctypes; print(kvs_ctypes.Library().version())"
        run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
        self.assertEqual(run.stdout.strip(), kvs.Library().version())

    def test_another_abi_is_refused(self) -> None:
        with mock.patch.object(kvs, "ABI_VERSION", 99), self.assertRaisesRegex(ImportError, "ABI version 0.*99"):
            kvs.Library(os.environ["KVS_LIBRARY"])

    def test_versions_and_options(self) -> None:
        lib = kvs.Library()
        major, minor, patch = map(int, lib.version().split("."))
        self.assertEqual(lib.version_number(), major * 1000000 + minor * 1000 + patch)
        self.assertEqual(lib.status_name(-7), "KVS_E_IO")
        self.assertEqual(lib.status_name(77), "unknown status")
        options = {option.name: option for option in lib.options()}
        self.assertEqual(options["durability"].default, "process")
        # Every default can be given, as text.
        defaults = {option.name: option.default for option in options.values()}
        defaults["in_memory"] = "true"
        kvs.open(**defaults).close()


class Errors(Case):
    def test_messages_and_classes(self) -> None:
        db = self.memory()
        with self.assertRaisesRegex(kvs.TooLargeError, "64 KiB") as caught:
            db.put(b"k" * 65537, b"")
        self.assertEqual((caught.exception.status, caught.exception.name), (-14, "KVS_E_TOO_LARGE"))
        self.assertIsInstance(caught.exception, ValueError)
        with self.assertRaisesRegex(OSError, "missing") as io:
            kvs.open(self.tmp / "missing" / "store")
        self.assertIsInstance(io.exception, kvs.IoError)
        self.assertEqual(io.exception.errno, 2)
        with self.assertRaisesRegex(ValueError, "colour"):
            kvs.open(in_memory=True, colour="red")
        with self.assertRaisesRegex(kvs.InvalidArgument, "durability"):
            kvs.open(in_memory=True, durability="perhaps")
        with self.assertRaises(kvs.InvalidArgument):
            kvs.open(in_memory=True, cache_bytes=-1)
        with self.assertRaises(kvs.InvalidArgument):
            kvs.open(in_memory=True, cache_bytes=1 << 64)
        with self.assertRaises(kvs.InvalidArgument):
            kvs.open(in_memory=True, memtable_bytes_max=1)
        copy = pickle.loads(pickle.dumps(io.exception))
        self.assertEqual((type(copy), str(copy), copy.os_error), (kvs.IoError, str(io.exception), 2))

    def test_one_class_for_each_status(self) -> None:
        self.assertEqual(len(set(kvs.ERRORS.values())), len(kvs.ERRORS))
        for status, own in kvs.ERRORS.items():
            made = own("why")
            self.assertEqual((str(made), made.status), ("why", status))
            self.assertIn(own.__name__, kvs.__all__)
            self.assertIs(getattr(kvs, own.__name__), own)

    def test_what_is_no_bytes(self) -> None:
        db, batch = self.memory(), kvs.Batch()
        for wrong in ("text", 5, None, 1.5, [1]):
            for call in (
                lambda: db.put(wrong, b""),  # noqa: B023
                lambda: db.put(b"", wrong),  # noqa: B023
                lambda: db.get(wrong),  # noqa: B023
                lambda: db.delete(wrong),  # noqa: B023
                lambda: db.contains(wrong),  # noqa: B023
                lambda: db.get_many([b"", wrong]),  # noqa: B023
                lambda: db.get_view(wrong),  # noqa: B023
                lambda: batch.put(b"", wrong),  # noqa: B023
                lambda: batch.put(wrong, b""),  # noqa: B023
                lambda: batch.delete(wrong),  # noqa: B023
                lambda: batch.put_many([(b"", wrong)]),  # noqa: B023
                lambda: batch.append_packed(wrong),  # noqa: B023
            ):
                with self.assertRaises(TypeError):
                    call()
        self.assertEqual((list(db), len(batch)), ([], 0))

    def test_zeros_in_texts(self) -> None:
        """C would see a shorter text."""
        db = self.memory()
        for call in (
            lambda: kvs.open(os.fsencode(self.tmp / "a\0b")),
            lambda: kvs.open(in_memory=True, log_backend="auto\0x"),
            lambda: db.property("stats\0x"),
            lambda: kvs.repair(self.tmp, os.fsencode(self.tmp) + b"\0"),
        ):
            with self.assertRaisesRegex(kvs.InvalidArgument, "zero byte"):
                call()
        self.assertEqual(os.listdir(self.tmp), [])

    def test_errors_leave_nothing(self) -> None:
        """An error object is freed as soon as it was read: the library has room for a bounded number of handles."""
        db = self.memory()

        def resident() -> int:
            with open("/proc/self/statm") as statm:
                return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

        # The message has the name in it: 3,000 of them would be 30 MB.
        name, before = "n" * 10_000, 0
        for i in range(4000):
            if i == 1000:
                before = resident()
            with self.assertRaisesRegex(kvs.InvalidArgument, name):
                db.property(name)
        self.assertLess(resident() - before, 8 << 20)


class Reading(Case):
    def test_kinds_of_bytes(self) -> None:
        db = self.memory()
        numbers = array.array("I", [1, 2, 3])
        db[bytearray(b"key")] = memoryview(numbers)
        db.put(memoryview(b"_key_")[1:4:1], memoryview(b"abcdef")[::2])
        self.assertEqual(db[b"key"], b"ace")
        db.put(b"numbers", numbers)
        self.assertEqual(db.get(bytearray(b"numbers")), numbers.tobytes())
        self.assertEqual(list(db.keys(start=bytearray(b"l"))), [b"numbers"])

    def test_mapping(self) -> None:
        db = self.memory()
        db[b"a"] = b"1"
        self.assertTrue(b"a" in db and b"b" not in db)
        self.assertEqual((db.get(b"b"), db.get(b"b", 5), db.get_many([b"a", b"b"], 7)), (None, 5, [b"1", 7]))
        for call in (lambda: db[b"b"], lambda: db.__delitem__(b"b")):
            with self.assertRaises(KeyError):
                call()
        del db[b"a"]
        self.assertEqual((list(db), list(db.values()), db.get_many([])), ([], [], []))

    def test_values_of_every_size(self) -> None:
        """Around the size of the buffer that is there before, and far beyond."""
        db = self.memory()
        for size in [0, 1, 4095, 4096, 4097, 65536, 1 << 20]:
            value = os.urandom(size)
            db[b"k"] = value
            view = db.get_view(b"k")
            assert view is not None
            self.assertTrue(db[b"k"] == value == bytes(view) == db.get_many([b"k"])[0])
            self.assertEqual((view.readonly, view.format, len(view)), (True, "B", size))
            self.assertEqual(list(db.items()), [(b"k", value)])

    def test_get_into(self) -> None:
        db = self.memory()
        db[b"k"] = b"value"
        buffer = bytearray(b"........")
        self.assertEqual((db.get_into(b"k", buffer), buffer), (5, b"value..."))
        self.assertEqual((db.get_into(b"none", buffer), buffer), (None, b"value..."))
        small = bytearray(3)
        self.assertEqual((db.get_into(b"k", small), small), (5, bytes(3)))
        self.assertEqual(db.get_into(b"k", memoryview(bytearray(0))), 5)
        with self.assertRaises(TypeError):
            db.get_into(b"k", b"cannot be written")  # type: ignore[arg-type]
        buffer.append(1)

    def test_views_keep_what_they_show(self) -> None:
        """Overwritten, compacted, closed, collected: the view shows what it showed. Then its pin is freed."""
        db = kvs.open(self.tmp / "store", segment_bytes_min="4k", segment_bytes_max="4k", memtable_bytes_max="64k")
        value = os.urandom(100_000)
        db[b"k"] = value
        db.flush()
        view = db.get_view(b"k")
        assert view is not None
        part = view[1000:2000]
        db[b"k"] = b"other"
        db.delete_range()
        db.compact()
        db.close()
        del db
        gc.collect()
        self.assertTrue(view == value)
        with mock.patch.object(kvs._Pin, "__del__", autospec=True) as freed:
            del view
            gc.collect()
            self.assertFalse(freed.called)
            self.assertTrue(part == value[1000:2000])
            del part
            gc.collect()
            self.assertTrue(freed.called)

    def test_empty_value_as_view(self) -> None:
        db = self.memory()
        db[b"k"] = b""
        self.assertEqual((db.get_view(b"k"), db.get_view(b"none")), (b"", None))

    def test_many_keys(self) -> None:
        db = self.memory()
        db.put_many((b"%04d" % n, b"v%d" % n) for n in range(5000))
        keys = [b"%04d" % n for n in random.Random(1).choices(range(6000), k=3000)]
        self.assertEqual(db.get_many(keys), [db.get(key) for key in keys])

    def test_snapshots(self) -> None:
        db = self.memory()
        db[b"k"] = b"old"
        with db.snapshot() as snapshot:
            first = snapshot.sequence()
            db[b"k"] = b"new"
            with db.snapshot() as later:
                self.assertEqual(later.sequence(), first + 1)
            self.assertEqual((snapshot[b"k"], db[b"k"], list(snapshot.items())), (b"old", b"new", [(b"k", b"old")]))
            walk = snapshot.items()
        self.assertEqual(list(walk), [(b"k", b"old")])
        with self.assertRaises(kvs.BadHandleError):
            snapshot.get(b"k")
        with self.assertRaises(kvs.BadHandleError):
            snapshot.sequence()
        snapshot.close()


class Iterating(Case):
    def filled(self, count: int) -> kvs.Database:
        db = self.memory()
        db.put_many((b"%06d" % n, b"value %d" % n) for n in range(count))
        return db

    def test_few_calls(self) -> None:
        """Many entries come with one call; few are read when few are used."""
        db = self.filled(20_000)
        lib, calls = db._lib, 0
        fill = lib.kvs_iter_fill

        def counted(*arguments: Any) -> int:
            nonlocal calls
            calls += 1
            return fill(*arguments)

        with mock.patch.object(lib, "kvs_iter_fill", counted):
            self.assertEqual(len(list(db.items())), 20_000)
            self.assertLess(calls, 30)
            calls = 0
            self.assertEqual(next(iter(db.items()))[0], b"000000")
            self.assertEqual(calls, 1)

    def test_both_directions(self) -> None:
        db = self.filled(3000)
        pairs = [(b"%06d" % n, b"value %d" % n) for n in range(3000)]
        self.assertEqual(list(db.items()), pairs)
        self.assertEqual(list(db.items(reverse=True)), pairs[::-1])
        self.assertEqual(list(db.items(b"000100", b"001000")), pairs[100:1000])
        self.assertEqual(list(db.items(prefix=b"0010", reverse=True)), pairs[1000:1100][::-1])
        self.assertEqual(list(db.keys(b"002990")), [key for key, _ in pairs[2990:]])
        self.assertEqual(list(db.values(stop=b"000003")), [value for _, value in pairs[:3]])
        with self.assertRaises(kvs.InvalidArgument):
            db.items(prefix=b"a", start=b"b")

    def test_entries_larger_than_the_chunk(self) -> None:
        db = self.memory()
        pairs = [(b"%d" % n, bytes([n]) * size) for n, size in enumerate([10, 300_000, 5, 65536, 0, 1 << 20, 1])]
        db.put_many(pairs)
        self.assertEqual(list(db.items()), pairs)
        self.assertEqual(list(db.items(reverse=True)), pairs[::-1])

    def test_a_walk_of_many_chunks(self) -> None:
        # Each chunk asked for twice as many entries as the one before, and the 61st for none, since a size_t has 64 bits: walks of more failed.
        db = self.memory()
        pairs = [(b"%03d" % n, bytes(40_000)) for n in range(100)]
        db.put_many(pairs)
        self.assertEqual(list(db.items()), pairs)
        self.assertEqual(list(db.items(reverse=True)), pairs[::-1])
        with db.iterator() as it:
            it.first()
            self.assertEqual(len(it.fill(1 << 64)), 1)

    def test_items_are_of_the_moment_of_the_call(self) -> None:
        db = self.filled(3)
        walk = db.items()
        db.delete_range()
        self.assertEqual(len(list(walk)), 3)

    def test_moves_and_loops(self) -> None:
        db = self.filled(100)
        with db.iterator() as it:
            self.assertIsNone(it.item())
            self.assertTrue(it.seek(b"000050"))
            self.assertEqual(it.item(), (b"000050", b"value 50"))
            self.assertEqual([key for key, _ in it.fill(3)], [b"000050", b"000051", b"000052"])
            self.assertEqual([key for key, _ in it.fill(2, reverse=True)], [b"000053", b"000052"])
            self.assertTrue(it.seek(b"000097"))
            self.assertEqual([key for key, _ in it], [b"000097", b"000098", b"000099"])
            self.assertEqual(it.fill(), [])
            self.assertTrue(it.seek_for_prev(b"000001x"))
            self.assertEqual([key for key, _ in reversed(it)], [b"000001", b"000000"])
            with self.assertRaises(kvs.InvalidArgument):
                it.fill(0)
        for call in (it.first, it.item, it.fill):
            with self.assertRaises(kvs.BadHandleError):
                call()
        it.close()

    def test_a_walk_that_is_left_frees_its_iterator(self) -> None:
        db = self.filled(1000)
        for walk in (db.items(), db.items(reverse=True)):
            next(walk)
            with mock.patch.object(kvs.Iterator, "close", autospec=True, side_effect=kvs.Iterator.close) as close:
                walk.close()
            self.assertTrue(close.called)

    def test_two_threads_on_one_iterator(self) -> None:
        """One of them is told; what is read is whole, even while the other moves and frees."""
        db = self.memory()
        db.put_many((b"%06d" % n, b"%06d" % n * 50) for n in range(2000))
        told, seen, wrong = [0], [0], []

        def use(it: kvs.Iterator, end: threading.Event) -> None:
            while not end.is_set():
                try:
                    it.next() or it.first()
                    pair = it.item()
                    seen[0] += 1
                    if pair is not None and pair[1] != pair[0] * 50:
                        wrong.append(pair)
                    # Here others get on while nobody is inside; elsewhere they get on while this one is.
                    time.sleep(0)
                except kvs.ConcurrentError:
                    told[0] += 1
                except kvs.BadHandleError:
                    return

        for _ in range(5):
            it, end = db.iterator(), threading.Event()
            threads = [threading.Thread(target=use, args=(it, end)) for _ in range(3)]
            for thread in threads:
                thread.start()
            end.wait(0.05)
            # Beside the others for a while; afterwards they have ended.
            for _ in range(100):
                try:
                    it.close()
                    break
                except kvs.ConcurrentError:
                    time.sleep(0)
            end.set()
            for thread in threads:
                thread.join()
        self.assertEqual(wrong, [])
        self.assertGreater(seen[0], 0)

    def test_the_library_is_never_asked_twice_at_once(self) -> None:
        """The lock of an iterator is what answers: here another thread has it."""
        it = self.memory().iterator()
        with it._alone():
            for call in (it.first, it.item, it.fill, it.close):
                with self.assertRaises(kvs.ConcurrentError):
                    call()
        self.assertFalse(it.first())


class Writing(Case):
    def test_batches(self) -> None:
        db = self.memory()
        with db.batch(sync=True) as batch:
            batch.put(b"a", b"1")
            batch.put(bytearray(b"b"), memoryview(b"2"))
            batch.delete(b"a")
            batch.delete_range(b"x", b"z")
            self.assertEqual((len(batch), batch.byte_size()), (4, 7))
            self.assertEqual(list(db), [])
        self.assertEqual(list(db.items()), [(b"b", b"2")])
        with self.assertRaises(kvs.BadHandleError):
            batch.put(b"c", b"3")

    def test_a_batch_that_ends_with_an_exception(self) -> None:
        db = self.memory()
        with self.assertRaises(ZeroDivisionError), db.batch() as batch:
            batch.put(b"a", b"1")
            raise ZeroDivisionError
        self.assertEqual(list(db), [])

    def test_a_batch_written_twice(self) -> None:
        one, two = self.memory(), self.memory()
        with kvs.Batch() as batch:
            batch.put_many([(b"a", b"1"), (b"b", b"2")])
            one.write(batch)
            two.write(batch, sync=True, no_wait=True)
            batch.clear()
            self.assertEqual(len(batch), 0)
            one.write(batch)
        self.assertEqual(list(one.items()), list(two.items()))
        self.assertEqual(one[b"b"], b"2")

    def test_packed(self) -> None:
        batch = kvs.Batch()
        batch.append_packed(b"\x01\x01\0\0\0\x02\0\0\0kvv" b"\x02\x01\0\0\0\0\0\0\0d")
        self.assertEqual(len(batch), 2)
        with self.assertRaisesRegex(kvs.InvalidArgument, "byte"):
            batch.append_packed(b"\x09\0\0\0\0\0\0\0\0")
        with self.assertRaises(kvs.TooLargeError):
            batch.put_many([(b"x", b"1"), (b"k" * 65537, b"")])
        self.assertEqual(len(batch), 2)

    def test_ranges(self) -> None:
        db = self.memory()
        db.put_many((bytes([n]), b"") for n in range(10))
        db.delete_range(b"\x02", b"\x05", sync=True)
        db.delete_range(stop=b"\x01")
        db.delete_range(b"\x09", no_wait=True)
        self.assertEqual(list(db), [b"\x01", b"\x05", b"\x06", b"\x07", b"\x08"])


class Databases(Case):
    def test_close_and_open_again(self) -> None:
        path = self.tmp / "store"
        db = kvs.open(path, durability="sync", create=True, cache_bytes=1 << 20, memory_bytes_max=1 << 28)
        db[b"k"] = b"v"
        with self.assertRaises(kvs.LockedError):
            kvs.open(path)
        snapshot, it = db.snapshot(), db.iterator()
        db.close()
        db.close()
        for call in (lambda: db.get(b"k"), lambda: snapshot.get(b"k"), it.first, db.stats, lambda: list(db)):
            with self.assertRaises(kvs.ClosedError):
                call()
        with kvs.open(os.fsencode(path), read_only=True) as reader, self.assertRaises(kvs.ReadOnlyError):
            self.assertEqual(reader[b"k"], b"v")
            reader[b"k"] = b"w"

    def test_the_collector_closes(self) -> None:
        """A database lives as long as what was made of it, and is closed then."""
        path = self.tmp / "store"
        db = kvs.open(path)
        db[b"k"] = b"v"
        snapshot = db.snapshot()
        del db
        gc.collect()
        self.assertEqual(snapshot[b"k"], b"v")
        with self.assertRaises(kvs.LockedError):
            kvs.open(path)
        del snapshot
        gc.collect()
        kvs.open(path).close()

    def test_the_end_of_the_program_closes(self) -> None:
        """With a hook, a snapshot and a walk that nobody ended."""
        script = (
            "import gc, sys, kvs_ctypes as kvs\n"
            "db = kvs.open(sys.argv[1] + '/store', log=lambda level, line: print(line))\n"
            "db[b'k'] = b'v'; snapshot = db.snapshot(); walk = db.items(); next(walk)\n"
            # Cycles that even the last collection leaves.
            "db.own = db; snapshot.own = snapshot; gc.freeze()\n"
        )
        run = self.run_python(script)
        self.assertEqual((run.returncode, run.stderr), (0, ""))
        self.assertIn("clos", run.stdout)
        with kvs.open(self.tmp / "store", create=False) as db:
            self.assertEqual(db[b"k"], b"v")

    def test_a_child_of_fork(self) -> None:
        script = (
            "import os, sys, warnings, kvs_ctypes as kvs\n"
            "warnings.simplefilter('ignore', DeprecationWarning)\n"
            "db = kvs.open(sys.argv[1] + '/store')\n"
            "db[b'k'] = b'v'; it = db.iterator(); view = db.get_view(b'k')\n"
            "if os.fork() == 0:\n"
            "    for call in (lambda: db.get(b'k'), it.first, db.close):\n"
            "        try: call()\n"
            "        except kvs.ForkedError: print('forked', flush=True)\n"
            "    sys.exit(7)\n"
            "assert os.waitstatus_to_exitcode(os.wait()[1]) == 7\n"
            "db[b'l'] = b'w'; db.close(); print(db is not None)\n"
        )
        run = self.run_python(script)
        self.assertEqual((run.returncode, run.stderr, run.stdout.split()), (0, "", ["forked"] * 3 + ["True"]))

    def test_flush_compact_sync_verify_interrupt(self) -> None:
        with kvs.open(self.tmp / "store") as db:
            db.put_many((b"%d" % n, b"v") for n in range(100))
            db.sync()
            db.flush()
            db.compact(b"1", b"2")
            db.compact()
            db.interrupt()
            seen = db.verify()
            self.assertTrue(seen.records >= 100 and seen.bytes > 100 and seen.files >= 1)

    def test_stats_and_properties(self) -> None:
        db = self.memory()
        db[b"k"] = b"v"
        stats = db.stats()
        self.assertEqual((stats["writes"], stats["user_bytes_written"], len(stats)), (1, 2, len(kvs.kvs_stats._fields_)))
        self.assertEqual(db.property("stats.writes"), "1")
        self.assertEqual(db.property("version"), db._lib.version())
        # The struct and the library's own list are the same, name by name.
        lines = dict(line.split() for line in db.property("stats").split("\n") if line)
        self.assertLessEqual(set(stats), set(lines))
        with self.assertRaisesRegex(kvs.InvalidArgument, "nonsense"):
            db.property("nonsense")

    def test_interrupt_ends_a_call_of_another_thread(self) -> None:
        """Foreign calls run without the GIL: the other thread can speak while one waits."""
        with kvs.open(self.tmp / "store") as db:
            db.put_many((b"%d" % n, b"v" * 1000) for n in range(3000))
            outcome = []

            def verify() -> None:
                try:
                    while True:
                        db.verify()
                except kvs.InterruptedError as error:
                    outcome.append(error)

            thread = threading.Thread(target=verify)
            thread.start()
            while thread.is_alive():
                db.interrupt()
                thread.join(0.001)
            self.assertEqual(len(outcome), 1)

    def test_threads(self) -> None:
        """Each thread sees its own values only, whatever their sizes."""
        db, wrong = self.memory(), []

        def use(number: int) -> None:
            pick = random.Random(number)
            for n in range(300):
                key, value = b"%d/%d" % (number, n % 7), bytes([number]) * pick.choice([1, 100, 4096, 5000, 70_000])
                db[key] = value
                if db[key] != value or db.get_many([key, b"none"]) != [value, None] or bytes(db.get_view(key) or b"") != value:
                    wrong.append(key)

        threads = [threading.Thread(target=use, args=(number,)) for number in range(1, 5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])

    def test_hooks(self) -> None:
        lines = []
        db = kvs.open(self.tmp / "store", log=lambda level, line: lines.append((level, line)))
        self.assertEqual(len(kvs._hooks), 1)
        db[b"k"] = b"v"
        db.flush()
        db.close()
        self.assertEqual(kvs._hooks, {})
        self.assertTrue(all(level == kvs.LOG_INFO for level, _ in lines))
        self.assertTrue(any("flush" in line for _, line in lines), lines)

    def test_a_hook_of_a_failed_open_is_let_go(self) -> None:
        with self.assertRaises(kvs.NotADatabaseError):
            kvs.open(self.tmp / "store", create=False, log=print)
        with self.assertRaises(kvs.InvalidArgument):
            kvs.open(self.tmp / "store", log=print, colour="red")
        self.assertEqual(kvs._hooks, {})

    def test_a_hook_that_raises_and_one_that_writes(self) -> None:
        raised, told = [], []

        def hook(level: int, line: str) -> None:
            try:
                db.put(b"from the hook", b"")
            except kvs.ReentrantError as error:
                told.append(error)
            raise KeyError(line)

        db = self.memory()
        with mock.patch.object(sys, "unraisablehook", raised.append):
            db = kvs.open(self.tmp / "store", log=hook)
            db[b"k"] = b"v"
            db.flush()
            db.close()
        self.assertTrue(raised and told)

    def test_repair(self) -> None:
        path, damaged = self.tmp / "store", os.urandom(50_000)
        with kvs.open(path) as db:
            for n in range(20):
                db[b"%02d" % n] = damaged if n == 10 else b"good"
        (log,) = path.glob("*.log")
        data = bytearray(log.read_bytes())
        data[data.index(damaged) + 25_000] ^= 1
        log.write_bytes(data)
        report = kvs.repair(path, self.tmp / "saved", durability="sync")
        self.assertTrue(report.left_out and report.text)
        left = report.left_out[0]
        self.assertTrue(left.file.endswith(".log") and left.start < left.stop and left.why)
        self.assertIn(left.keys, ("unknown", "one", "between"))
        with kvs.open(self.tmp / "saved", create=False) as db:
            self.assertEqual(report.keys, len(list(db)))
            self.assertNotIn(b"10", db)
        whole = kvs.repair(self.tmp / "saved", self.tmp / "copy")
        self.assertEqual((whole.left_out, whole.keys), ([], report.keys))


class Types(Case):
    def test_handles_are_no_addresses(self) -> None:
        """A made-up handle is an error."""
        lib = kvs.Library()
        size = ctypes.c_size_t()
        status = lib.kvs_get_into(kvs.kvs_db(12345), None, b"k", 1, None, 0, ctypes.byref(size), None)
        self.assertEqual(lib.status_name(status), "KVS_E_BAD_HANDLE")


if __name__ == "__main__":
    unittest.main()
