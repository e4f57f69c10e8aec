"""Gathers what is worth seeing of one run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from trackbridge.adapter import Query, Row, RunInfo
from trackbridge.columns import codes, numpy_of
from trackbridge.console import shown
from trackbridge.errors import NotFoundError
from trackbridge.output import Sections, counted
from trackbridge.registry import NO_OPTIONS, open_reader
from trackbridge.sidecar import Overlay

LISTED = {
    "params": ("key", "value", "type"),
    "summary": ("key", "value", "type"),
    "tags": ("key", "value"),
    "metric_defs": ("key", "x_axis", "summary"),
    "alerts": ("title", "level", "time"),
    "inputs": ("name", "kind", "digest", "context"),
    "artifacts": ("collection", "version", "kind", "direction", "digest", "aliases"),
    "files": ("owner", "path", "size", "reference"),
}
"""Columns gathered of each small table."""
MOST_LINES = 10
"""Of the console, the last ones."""


@dataclass
class _Series:
    """What a metric comes to: how many points, over which steps, and where it ended."""

    points: int = 0
    first: int | None = None
    last: int | None = None
    value: float = float("nan")

    def add(self, steps: list[int], values: list[float]) -> None:
        self.points += len(steps)
        low, high = min(steps), max(steps)
        self.first = low if self.first is None else min(self.first, low)
        if self.last is None or high >= self.last:
            self.last, self.value = high, values[len(steps) - 1 - steps[::-1].index(high)]

    def cells(self) -> list[str]:
        return [
            counted(self.points, "points"),
            f"steps {self.first}..{self.last}",
            f"{self.value:g}",
        ]


def summarize(store: str, run: str, options: Mapping[str, str] = NO_OPTIONS) -> Sections:
    """Titles and rows of cells: the run, its params, tags, metrics, other series, files.

    `run` is a run id or, where ids repeat, `project/id`. Raises `NotFoundError` if there is none.
    """
    reader = open_reader(store, options)
    info = _find(list(reader.list_runs(Query())), run, store)
    sections: Sections = {"run": [["key", str(info.key)]]}
    if info.native_id:
        sections["run"].append(["native_id", info.native_id])
    metrics: dict[str, _Series] = {}
    kinds: Counter[tuple[str, str]] = Counter()
    pieces: list[str] = []
    for batch in Overlay(reader, [info]).read():
        if batch.table == "metrics":
            _count(batch.data, metrics)
        elif batch.table == "logs":
            pieces += (piece or "" for piece in batch.data.column("text").to_pylist())
        elif batch.table == "series":
            kinds.update((row["key"], row["kind"]) for row in batch.data.to_pylist())
        elif batch.table == "runs":
            sections["run"] += [
                [name, _text(value)] for name, value in batch.data.to_pylist()[0].items() if value
            ]
        elif batch.table in LISTED:
            rows = sections.setdefault(batch.table, [])
            rows += (_cells(batch.table, row) for row in batch.data.to_pylist())
    sections["metrics"] = [[key, *metrics[key].cells()] for key in sorted(metrics)]
    sections["series"] = [
        [key, kind, counted(n, "points")] for (key, kind), n in sorted(kinds.items())
    ]
    sections["console"] = _last_lines(shown(pieces).splitlines())
    return {title: rows for title, rows in sections.items() if rows}


def _last_lines(lines: list[str]) -> list[list[str]]:
    more = (
        [f"... {counted(len(lines) - MOST_LINES, 'lines')} before"]
        if len(lines) > MOST_LINES
        else []
    )
    return [[line] for line in [*more, *lines[-MOST_LINES:]]]


def _find(runs: list[RunInfo], run: str, store: str) -> RunInfo:
    found = [info for info in runs if run in (info.ref.run_id, "/".join(info.ref))]
    if not found:
        found = [info for info in runs if run in info.ids]
    if not found:
        raise NotFoundError(f"{store}: no run {run!r}; `trackbridge ls {store}` lists them")
    if len(found) > 1:
        choices = ", ".join("/".join(info.ref) for info in found)
        raise NotFoundError(f"{store}: several runs {run!r}; say which one: {choices}")
    return found[0]


def _count(data: pa.RecordBatch, metrics: dict[str, _Series]) -> None:
    keys = codes(data.column("key"))
    steps = numpy_of(data.column("step").fill_null(0), np.int64)
    values = numpy_of(data.column("value"), np.float64)
    names = data.column("key").dictionary.to_pylist()
    system = np.array(data.column("system"))
    for code in np.unique(keys).tolist():
        for measured in (False, True):
            mask = (keys == code) & (system == measured)
            if mask.any():
                name = f"{names[code]} (system)" if measured else names[code]
                series = metrics.setdefault(name, _Series())
                series.add(steps[mask].tolist(), values[mask].tolist())


def _cells(table: str, row: Row) -> list[str]:
    return [_text(row.get(column)) for column in LISTED[table]]


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="milliseconds")
    return str(value)
