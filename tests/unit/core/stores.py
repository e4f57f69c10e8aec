"""Stores in memory: filled by tests, and looked into without the code that they test."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pyarrow as pa

from trackbridge.adapter import (
    Batch,
    Capabilities,
    FileRef,
    Presentation,
    Row,
    RunKey,
    RunRef,
)
from trackbridge.schema import LOCAL, SHARED, TABLES
from trackbridge_adapters import memory

NOTHING_CHANGES = Capabilities.everything()
SOME_RUN = RunRef("p", "r")


@dataclass
class Sample:
    """A run as a test makes it: rows without labels, and the bytes of its files."""

    key: RunKey
    tables: dict[str, list[Row]]
    files: dict[tuple[str, str], bytes] = field(default_factory=dict)


@contextmanager
def stores(*capabilities: Capabilities) -> Iterator[list[str]]:
    """New stores, one for each, by names that were never used before; gone afterwards."""
    names = [f"test-{next(_numbers)}" for _ in capabilities]
    for name, claims in zip(names, capabilities):
        memory.create(name, claims)
    try:
        yield names
    finally:
        for name in names:
            memory.STORES.pop(name, None)


_numbers = count()


def seed(name: str, samples: Iterable[Sample], shared: Mapping[str, list[Row]] = {}) -> None:
    """Write runs into a store through its sink, in no chunk that has to be proven."""
    store = memory.ADAPTER.writer(name, {})
    samples = list(samples)
    with store.open([sample.key for sample in samples]) as sink:
        for sample in samples:
            ref = store.target(sample.key)
            for table, rows in sample.tables.items():
                if rows:
                    sink.write(batch(table, rows, ref))
            for (owner, path), data in sample.files.items():
                sink.put_file(FileRef(ref, owner, path), io.BytesIO(data))
        for table, rows in shared.items():
            sink.write(Batch(table, pa.RecordBatch.from_pylist(rows, TABLES[table])))
        sink.commit()


def batch(table: str, rows: list[Row], ref: RunRef = SOME_RUN) -> Batch:
    """Rows of one run as a batch."""
    labelled = [{**row, "project": ref.project, "run_id": ref.run_id} for row in rows]
    return Batch(table, pa.RecordBatch.from_pylist(labelled, TABLES[table]))


def peek(name: str) -> Counter[Any]:
    """Every row of every run, as values that can be compared, with the hashes of all files."""
    contents = memory.STORES[name]
    found: Counter[Any] = Counter()
    for ref, run in contents.runs.items():
        for table, data in run.tables.items():
            for row in data.to_pylist():
                if table == "files" and not row["reference"]:
                    content = contents.files.get(FileRef(ref, row["owner"] or "", row["path"]))
                    row["sha256"] = None if content is None else hashlib.sha256(content).hexdigest()
                    row["size"] = row["size"] if content is None else len(content)
                found[(table, *_frozen(table, row))] += 1
    return found


def _frozen(table: str, row: Row) -> tuple[Any, ...]:
    return tuple(
        (name, "nan" if value != value else value)
        for name, value in row.items()
        if (table, name) not in LOCAL
    )


def native(name: str, table: str) -> list[Row]:
    """The rows of a table as they lie in a store."""
    contents = memory.STORES[name]
    if table in SHARED:
        return list(contents.shared.get(table, {}).values())
    runs = [run.tables[table] for run in contents.runs.values() if table in run.tables]
    return [row for data in runs for row in data.to_pylist()]


def edit(name: str, table: str, rows: list[Row], key: RunKey | None = None) -> None:
    """Put other rows in the place of those of one run, as a user of the store might."""
    contents = memory.STORES[name]
    ref = next(r for r, run in contents.runs.items() if key is None or run.key == key)
    data = pa.Table.from_batches([batch(table, rows, ref).data], TABLES[table])
    contents.runs[ref].tables[table] = data
    contents.runs[ref].fingerprint += "'"


def shelved(key: RunKey, tables: Mapping[str, list[Row]]) -> Presentation:
    """How a store shows runs whose users look for things in other places than runs keep them."""
    shown = {table: [dict(row) for row in rows] for table, rows in tables.items()}
    labels = [{**row, "value": row.get("value") or ""} for row in shown.get("tags", [])]
    shown["tags"] = [*labels, {"key": "shown.by", "value": key.kind}]
    shown["metrics"] = [
        {"key": f"summary/{row['key']}", "step": 0, "value": float(len(row["value"] or ""))}
        for row in shown.pop("summary", [])
    ]
    moved = {}
    for row in shown.get("files", []):
        here = (row.get("owner") or "", row["path"])
        moved[here] = ("", f"artifacts/{here[0] or 'run'}/{here[1]}")
        row["owner"], row["path"] = moved[here]
    readme = b"run " + key.run_id.encode()
    return Presentation(shown, moved, {("", "README.md"): readme})


class _Shelf(memory.MemoryAdapter):
    def writer(self, location: str, options: Mapping[str, str]) -> memory.MemoryStore:
        store = super().writer(location, options)
        store.address = f"shelf:{location}"
        store.present = shelved  # type: ignore[method-assign]
        return store

    def reader(self, location: str, options: Mapping[str, str]) -> memory.MemoryStore:
        return self.writer(location, options)


SHELF = _Shelf()
SHELF.name = "shelf"


class _Team(memory.MemoryAdapter):
    """Stores whose projects lie under the name of a team: all under their own, or all in one."""

    def __init__(self, name: str, project: str = "") -> None:
        super().__init__()
        self.name, self._project = name, project

    def writer(self, location: str, options: Mapping[str, str]) -> memory.MemoryStore:
        store = super().writer(location, options)
        store.address = f"{self.name}:{location}"
        store.target = self._target  # type: ignore[method-assign]
        return store

    def reader(self, location: str, options: Mapping[str, str]) -> memory.MemoryStore:
        return self.writer(location, options)

    def _target(self, key: RunKey) -> RunRef:
        """Those of its own kind are known to be called so."""
        label = key.label.removeprefix("x/" if key.kind == "x" else "").removeprefix("team/")
        return RunRef(f"team/{self._project or label}", str(key))


TEAM, ONE = _Team("team"), _Team("one", "all")
