"""What the page of a run shows, in bounded size: all small tables, metrics as they are drawn."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import pyarrow as pa

from trackbridge.adapter import Reader, Row, RunInfo, RunRef
from trackbridge.audit.provenance import TABLES as PROVENANCE
from trackbridge.audit.provenance import Provenance
from trackbridge.audit.viewing.contents import Contents
from trackbridge.audit.viewing.scripts import packed, rows
from trackbridge.audit.viewing.series import series_of
from trackbridge.columns import groups, split
from trackbridge.console import shown
from trackbridge.extremes import STEP, TIME, VALUE, Series
from trackbridge.plan import chunked

SMALL = ("params", "tags", "metric_defs", "summary", "alerts", "inputs", "artifacts", "files")
TABLES = ("runs", *SMALL, "metrics", "series", "logs")
LABELS = ("project", "run_id")
STRETCHES = 1000
"""Metrics with more than four times as many points are drawn by the extremes of their stretches."""
LONGEST = 50_000
"""Characters of a text."""
MOST_ROWS = 5_000
"""Rows of a small table."""
MOST_POINTS = 100
"""Points at either end of a series that is no metric."""
MOST_LINES = 1_000
"""Pieces of console output at the beginning; four times as many at the end."""


def details(
    reader: Reader, infos: Sequence[RunInfo], told: Callable[[int], None]
) -> Iterator[Detail]:
    """The details of runs, in order; as many are in memory at a time as lie in a chunk.

    `told` is called with the number of points after each batch of them.
    """
    for chunk in chunked(infos):
        found = {info.ref: Detail(info) for info in chunk.runs}
        for batch in reader.read_runs(list(found), TABLES):
            if batch.table == "metrics":
                for ref, key, system, points in series_of(batch.data):
                    found[ref].series[key, system].add(points)
            else:
                for ref, data in split(batch.data):
                    found[ref].take(batch.table, data)
            if batch.table in ("metrics", "series"):
                told(batch.data.num_rows)
        for info in chunk.runs:
            yield found.pop(info.ref)


class _Ends:
    """Rows at the beginning and at the end of many; kept as columns, since there are many such."""

    def __init__(self, first: int, last: int = 0) -> None:
        self.count = 0
        self._most = first, last
        self._first: list[pa.RecordBatch] = []
        self._last: deque[pa.RecordBatch] = deque()
        self._held = 0
        """Rows in `_last`."""

    def add(self, data: pa.RecordBatch) -> None:
        first, last = self._most
        begun = data.slice(0, max(0, first - self.count))
        rest = data.slice(max(begun.num_rows, data.num_rows - last))
        self.count += data.num_rows
        if begun.num_rows:
            self._first.append(_copied(begun))
        if rest.num_rows:
            self._last.append(_copied(rest))
            self._held += rest.num_rows
        while self._last and self._held - self._last[0].num_rows >= last:
            self._held -= self._last.popleft().num_rows

    def rows(self) -> list[Row]:
        last = [row for data in self._last for row in rows(data)]
        return [*(row for data in self._first for row in rows(data)), *last[-self._most[1] :]]


def _copied(data: pa.RecordBatch) -> pa.RecordBatch:
    """The same rows alone: a slice would keep all of its batch in memory."""
    return data.take(pa.array(np.arange(data.num_rows)))


class Detail:
    """A run, as its page shows it."""

    def __init__(self, info: RunInfo) -> None:
        self.info = info
        self.run: Row = {}
        self.series: dict[tuple[str, bool], Series] = defaultdict(partial(Series, STRETCHES))
        self._tables = {table: _Ends(MOST_ROWS) for table in SMALL}
        self._others: dict[tuple[str, str], _Ends] = {}
        self._log = _Ends(MOST_LINES, 4 * MOST_LINES)

    @cached_property
    def tables(self) -> dict[str, list[Row]]:
        """Rows of the small tables, once all were taken."""
        return {table: ends.rows() for table, ends in self._tables.items()}

    @property
    def ref(self) -> RunRef:
        return self.info.ref

    def take(self, table: str, data: pa.RecordBatch) -> None:
        """Rows of this run, of any table but metrics."""
        if table == "runs":
            (self.run,) = rows(data)
        elif table == "logs":
            self._log.add(data)
        elif table == "series":
            self._take_series(data)
        else:
            self._tables[table].add(data)

    def _take_series(self, data: pa.RecordBatch) -> None:
        group, first = groups(data, "key", "kind")
        for number, row in enumerate(first):
            name = data.column("key")[row].as_py(), data.column("kind")[row].as_py()
            ends = self._others.setdefault(name, _Ends(MOST_POINTS, MOST_POINTS))
            ends.add(data.take(pa.array(np.flatnonzero(group == number))))

    def document(self, contents: Contents) -> dict[str, Any]:
        """The whole detail, for JSON."""
        axes: dict[bytes, int] = {}
        scales: list[Any] = []

        def axis(numbers: Any) -> int:
            number = axes.setdefault(numbers.tobytes(), len(scales))
            if number == len(scales):
                scales.append(packed(numbers))
            return number

        metrics = []
        for (key, system), series in sorted(self.series.items()):
            kept = series.kept()
            metrics.append(
                {
                    "key": key,
                    "system": system,
                    "count": series.count,
                    "nan": series.nan,
                    "infinite": series.infinite,
                    "kept": kept.shape[1],
                    "stretches": series.stretches,
                    "steps": axis(kept[STEP]),
                    "times": axis(kept[TIME]) if not np.isnan(kept[TIME]).all() else None,
                    "values": packed(kept[VALUE]),
                }
            )
        provenance = Provenance(self.run, **{t: self.tables[t] for t in PROVENANCE if t != "runs"})
        more = {t: e.count for t, e in self._tables.items() if e.count > len(self.tables[t])}
        return {
            "run": {name: _plain(value) for name, value in self.run.items()},
            **{
                table: [said(row, LABELS) for row in self.tables[table]]
                for table in SMALL
                if table != "files"
            },
            "files": [self._file(row, contents) for row in self.tables["files"]],
            "given": len(provenance.used()),
            "made": len(provenance.made()),
            "more": more,
            "metrics": metrics,
            "axes": scales,
            "series": [
                {
                    "key": key,
                    "kind": kind,
                    "count": ends.count,
                    "points": [
                        [r["step"], r["time"], _cut(r["value"]), r["path"]] for r in ends.rows()
                    ],
                }
                for (key, kind), ends in sorted(self._others.items())
            ],
            "log": self._console(),
        }

    def _file(self, row: Row, contents: Contents) -> dict[str, Any]:
        place = contents.place(self.ref, row)
        return {**said(row, LABELS), "kind": place.kind, "link": place.link}

    def _console(self) -> dict[str, Any]:
        pieces = self._log.rows()
        text = shown(row["text"] or "" for row in pieces)
        return {"pieces": self._log.count, "kept": len(pieces), "text": _cut(text, 10 * LONGEST)}


def said(row: Row, without: Collection[str] = ()) -> Row:
    """What a row says, `without` some columns and those that it says nothing in."""
    return {n: _plain(v) for n, v in row.items() if n not in without and v is not None}


def _plain(value: Any) -> Any:
    return _cut(value) if isinstance(value, str) else value


def _cut(text: str | None, longest: int = LONGEST) -> str | None:
    if text is None or len(text) <= longest:
        return text
    return f"{text[:longest]}… ({len(text):,} characters, of which the archive has all)"
