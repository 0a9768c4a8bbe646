"""What a notebook shows of a store."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kvs._kvs import DB

# Most asked for first; the rest is folded away.
_FIRST = ("index_keys", "table_bytes", "log_bytes", "dead_bytes", "tables", "runs", "snapshots", "write_amplification")


def of_store(db: DB) -> str:
    """A table of the store's numbers; the head line alone if it is closed."""
    head = f"<p><code>{escape(repr(db))}</code></p>"
    try:
        stats = db.stats()
    except Exception:
        # A closed store, or the parent's after a fork. To be shown must not fail.
        return head
    first = {name: stats[name] for name in _FIRST if name in stats}
    rest = {name: value for name, value in stats.items() if name not in first}
    return f"{head}{_table(first)}<details><summary>{len(rest)} more</summary>{_table(rest)}</details>"


def _table(numbers: dict[str, int | float]) -> str:
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th><td style='text-align:right'>{value:,}</td></tr>"
        for name, value in numbers.items()
    )
    return f"<table>{rows}</table>"
