"""Where the results of each run come from: who ran what on which inputs, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any

from trackbridge.adapter import Query, Reader, Row, RunRef

TABLES = ("runs", "params", "summary", "inputs", "artifacts", "files")
TOGETHER = 500
"""Runs that are read at a time."""


@dataclass
class Provenance:
    """A run, as rows of the run model."""

    run: Row = field(default_factory=dict)
    params: list[Row] = field(default_factory=list)
    summary: list[Row] = field(default_factory=list)
    inputs: list[Row] = field(default_factory=list)
    artifacts: list[Row] = field(default_factory=list)
    files: list[Row] = field(default_factory=list)

    def used(self) -> list[Row]:
        """Files of artifacts that it used."""
        return [row for row in self.files if row["owner"] in self._owners("used")]

    def made(self) -> list[Row]:
        """Files of its own, and of artifacts that it logged."""
        used = self._owners("used") - self._owners("logged")
        return [row for row in self.files if row["owner"] not in used]

    def _owners(self, direction: str) -> set[str]:
        rows = (row for row in self.artifacts if row["direction"] == direction)
        return {f"{row['collection']}:{row['version']}" for row in rows}


def provenance(reader: Reader) -> Iterator[Provenance]:
    """Every run of a store, by project and run id; some hundred are in memory at a time."""
    refs = iter(sorted(info.ref for info in reader.list_runs(Query(include_deleted=True))))
    while chunk := list(islice(refs, TOGETHER)):
        yield from _read(reader, chunk)


def _read(reader: Reader, refs: Sequence[RunRef]) -> Iterator[Provenance]:
    found: dict[tuple[str, str], Provenance] = {ref: Provenance() for ref in refs}
    for batch in reader.read_runs(refs, TABLES):
        for row in batch.data.to_pylist():
            one = found[row["project"], row["run_id"]]
            if batch.table == "runs":
                one.run = row
            else:
                getattr(one, batch.table).append(row)
    yield from found.values()


def iso(time: datetime | None) -> str | None:
    """A time as both forms of provenance write it."""
    return None if time is None else time.isoformat()


def without_nothing(said: dict[str, Any]) -> dict[str, Any]:
    """What is said, without what nothing is known of."""
    return {key: value for key, value in said.items() if value not in (None, [], "")}
