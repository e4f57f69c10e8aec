"""Compares rows that a store was given with those that it gives back, and says what differs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest

from trackbridge.adapter import Batch, Capabilities, FileRef, Reader, RunRef
from trackbridge.proof import FileHashes
from trackbridge.schema import DEFAULTS, LOCAL, TABLES

Values = tuple[Any, ...]
NAMED = 3
"""Rows named per table and side."""


def same_rows(
    expected: Iterable[Batch], found: Iterable[Batch], reader: Reader | None = None
) -> None:
    """Fails, and says what differs, unless both have the same rows in whatever order.

    Columns that are true of one store only are left out. With a reader, the sizes and digests of
    files that were found are those of the bytes that it gives.
    """
    __tracebackhide__ = True
    before, after = _counted(expected, None), _counted(found, reader)
    lines = []
    for table in sorted(before.keys() | after.keys()):
        lost = before.get(table, Counter()) - after.get(table, Counter())
        new = after.get(table, Counter()) - before.get(table, Counter())
        for rows, what in ((lost, "is expected but not read"), (new, "is read but not expected")):
            for values in list(rows)[:NAMED]:
                lines.append(f"{table}: this row {what}:\n    {_shown(table, values)}")
            if len(rows) > NAMED:
                lines.append(f"{table}: and {len(rows) - NAMED} more such rows")
    if lines:
        pytest.fail("\n".join(lines))


def unheld(batches: Iterable[Batch], capabilities: Capabilities) -> str:
    """Columns that have values though the store does not claim to hold them; empty if none."""
    found = set()
    for batch in batches:
        held = {"project", "run_id", *capabilities.holds.get(batch.table, ())}
        for column in set(TABLES[batch.table].names) - held:
            default = DEFAULTS.get((batch.table, column))
            if any(v not in (None, default) for v in batch.data.column(column).to_pylist()):
                found.add(f"{batch.table}.{column}")
    return ", ".join(sorted(found))


def _counted(batches: Iterable[Batch], reader: Reader | None) -> dict[str, Counter[Values]]:
    tables: dict[str, Counter[Values]] = {}
    hashes = None if reader is None else FileHashes(reader)
    for batch in batches:
        rows = batch.data.to_pylist()
        if batch.table == "files" and hashes is not None:
            for row in rows:
                place = FileRef(RunRef(row["project"], row["run_id"]), row["owner"], row["path"])
                read = None if row["reference"] else hashes.of(place)
                if read is not None:
                    row["size"], row["sha256"] = read
        columns = _compared(batch.table)
        counter = tables.setdefault(batch.table, Counter())
        counter.update(tuple(_plain(row[column]) for column in columns) for row in rows)
    return {table: counter for table, counter in tables.items() if counter}


def _compared(table: str) -> list[str]:
    return [name for name in TABLES[table].names if (table, name) not in LOCAL]


def _plain(value: Any) -> Any:
    """NaN equal to NaN, and -0.0 to 0.0, which SQL stores do not tell apart."""
    if isinstance(value, float):
        return "NaN" if value != value else value + 0.0
    return value


def _shown(table: str, values: Values) -> str:
    pairs = zip(_compared(table), values)
    return ", ".join(f"{n}={_short(v)}" for n, v in pairs if v is not None)


def _short(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text)} characters)"
