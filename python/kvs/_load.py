"""kvs.load: many pairs in steps, with a bar that says how far it is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from kvs._kvs import DB
from kvs._typed import TypedDB


def load(
    db: DB | TypedDB[Any, Any],
    items: Mapping[Any, Any] | Iterable[tuple[Any, Any]],
    *,
    step: int = 1000,
    sync: bool = True,
    progress: bool | Callable[[int], object] | None = None,
    total: int | None = None,
) -> int:
    """Writes the pairs of a mapping or of an iterable, however many, and returns how many those were.

    Each step of so many pairs is one put_many: memory stays small, and an error leaves the steps before it written. sync=True makes
    all of them survive power loss at the end. progress=True shows a bar (of tqdm, if it is installed) on stderr; None does so on a
    terminal only; a function is called with the number of pairs after each step. total is how many there will be, if that is known.

    >>> with kvs.open(in_memory=True) as db:
    ...     kvs.load(db, ((b"%06d" % n, b"x") for n in range(2500)), progress=print)
    1000
    2000
    2500
    2500
    """
    if not isinstance(db, (DB, TypedDB)):
        raise TypeError(f"expected a store, not {type(db).__qualname__}")
    if step < 1:
        raise ValueError("step must be at least 1")
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    pairs: Iterator[tuple[Any, Any]] = iter(items.items() if isinstance(items, Mapping) else items)
    if progress is None:
        progress = sys.stderr is not None and sys.stderr.isatty()
    bar = _bar(total) if progress is True else None
    loaded = 0
    try:
        while chunk := list(islice(pairs, step)):
            db.put_many(chunk)
            loaded += len(chunk)
            if bar is not None:
                bar.update(len(chunk))
            elif callable(progress):
                progress(loaded)
        if sync:
            db.sync()
    finally:
        if bar is not None:
            bar.close()
    return loaded


def _bar(total: int | None) -> Any:
    try:
        from tqdm.auto import tqdm  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ImportError:
        return _Line(total)
    return tqdm(total=total, unit="pairs", unit_scale=True, dynamic_ncols=True)


class _Line:
    """A line on stderr that is written over, a few times a second."""

    def __init__(self, total: int | None) -> None:
        self._total = total
        self._loaded = 0
        self._began = time.monotonic()
        self._shown = self._began

    def update(self, loaded: int) -> None:
        self._loaded += loaded
        if time.monotonic() - self._shown > 0.2:
            self._show("\r")

    def _show(self, start: str) -> None:
        self._shown = time.monotonic()
        seconds = max(self._shown - self._began, 1e-9)
        of = f" of {self._total:,} ({self._loaded / self._total:.0%})" if self._total else ""
        sys.stderr.write(f"{start}loaded {self._loaded:,}{of} pairs, {self._loaded / seconds:,.0f}/s   ")
        sys.stderr.flush()

    def close(self) -> None:
        self._show("\r")
        sys.stderr.write("\n")
