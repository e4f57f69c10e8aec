"""What the rows of an export say of runs, apart from their points: attributes, files, counts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from trackbridge.adapter import Row, RunRef
from trackbridge.columns import split
from trackbridge.times import EPOCH
from trackbridge_adapters.neptune.homes import (
    FILES,
    HISTOGRAMS,
    HOMES,
    KNOWN,
    METRICS,
    TEXTS,
    VALUES,
    astray,
    at_home,
    columns,
    is_suspect,
)
from trackbridge_adapters.neptune.layout import entity
from trackbridge_adapters.neptune.parts import (
    Group,
    Part,
    labelled,
    millionths,
    of_runs,
    of_types,
    path_codes,
    where,
)

STREAMS = ("stdout", "stderr")
TRACKED = ("monitoring/", "runtime/")
"""Where Neptune's clients log what they measure and catch (neptune 1.14, neptune-scale 0.30)."""
_SMALL = ["project_id", "run_id", "attribute_path", "attribute_type", "step", "timestamp"]
_SMALL += [*VALUES.values(), "file_value"]
Lost = Counter[tuple[str, str | None]]
"""Rows by type and the column that has their value, if any."""
TIMES = -62_135_596_800_000, 253_402_300_799_999
"""First and last millisecond that calendars have."""


@dataclass(frozen=True)
class File:
    """A row that names something that was downloaded; `step` in millionths."""

    attribute: str
    kind: str
    place: str
    part: Path
    step: int | None = None
    time: datetime | None = None


@dataclass
class Facts:
    """Of one run."""

    attributes: dict[str, tuple[str, Any]] = field(default_factory=dict)
    """Type and value by path."""
    files: list[File] = field(default_factory=list)
    metrics: int = 0
    series: int = 0
    console: int = 0
    parts: dict[Path, tuple[int, int]] = field(default_factory=dict)
    strange: Counter[str] = field(default_factory=Counter)
    """Rows of types that are not known."""
    again: Counter[str] = field(default_factory=Counter)
    """Values by path that are not read, since another one came later."""
    damage: list[str] = field(default_factory=list)
    entity: str | None = None
    """What it is, if no run."""

    @property
    def points(self) -> int:
        """All that have a step."""
        return self.metrics + self.series + self.console

    def value(self, path: str, *kinds: str) -> Any:
        """The value of an attribute that has one of these types."""
        kind, value = self.attributes.get(path, ("", None))
        return value if kind in kinds else None


def is_console(path: str) -> bool:
    """Whether a series of texts is what a process printed."""
    return path.startswith(TRACKED) and path.rpartition("/")[2] in STREAMS


def is_system(path: str) -> bool:
    """Whether a metric was measured by Neptune's client."""
    return path.startswith(TRACKED)


def scan(parts: Iterable[Part], refs: Collection[RunRef]) -> dict[RunRef, Facts]:
    """What some runs' rows say; values of points are not read."""
    found = {ref: Facts() for ref in refs}
    for part in parts:
        before = {ref: found[ref].points for ref in part.runs if ref in found}
        damage: list[str] = []
        lost: dict[RunRef, Lost] = {ref: Counter() for ref in before}
        for group in part.groups:
            meant = [ref for ref in group.runs if ref in found]
            if meant and group.type == METRICS and not is_suspect(group, METRICS):
                for ref in meant:
                    found[ref].metrics += group.runs[ref]
            elif meant:
                _scan_group(part, group, found, damage, lost)
        for ref, points in before.items():
            known = found[ref]
            known.parts[part.path] = part.state
            known.entity = entity(part.path)
            lines = _lost(part, lost[ref], known.points - points)
            known.damage += [*part.damage, *damage, *lines]
    return found


def _lost(part: Part, lost: Lost, points: int) -> Iterator[str]:
    """What of a run is not where it should be in a file, or not there at all."""
    for (kind, column), count in sorted(lost.items(), key=repr):
        home, rows = HOMES[kind], f"{part.path.name}: {count} rows of the type {kind!r}"
        if column is None:
            yield f"{rows} have no value, for there is no column {home!r}, and are not read"
        else:
            yield f"{rows} have a value in {column!r}, not in {home!r}, and are not read"
    absent = {name for group in part.groups for name in group.absent}
    for name in sorted(absent & {"step", "timestamp"}) if points else ():
        yield f"{part.path.name}: {points} points have no {name}, for there is no such column"


def _scan_group(
    part: Part,
    group: Group,
    found: dict[RunRef, Facts],
    damage: list[str],
    lost: dict[RunRef, Lost],
) -> None:
    single = group.may_have(FILES | VALUES.keys())
    suspects = [kind for kind in HOMES if is_suspect(group, kind)]
    wanted = dict.fromkeys([*(_SMALL if single else _SMALL[:4]), *columns(group, suspects)])
    for data in part.batches(group, list(wanted), damage):
        data = of_runs(data, group, found)
        strays = list(astray(data, group))
        for stray in strays:
            for ref, rows in split(labelled(data.filter(pa.array(stray.rows)))):
                if ref in lost:
                    lost[ref][stray.kind, stray.column] += rows.num_rows
        for ref, rows in split(labelled(at_home(data, strays))):
            if ref in found:
                _count(rows, found[ref])
                if single:
                    _take(of_types(rows, group, FILES | VALUES.keys()), part, found[ref])


def _count(rows: pa.RecordBatch, facts: Facts) -> None:
    """How many points there are of each kind, and how many rows of no known type."""
    types = rows.column("attribute_type")
    code, names = np.asarray(types.indices.fill_null(-1)), types.dictionary.to_pylist()
    for number, count in zip(*np.unique(code, return_counts=True)):
        name = names[number] if number >= 0 else "null"
        if name == METRICS:
            facts.metrics += int(count)
        elif name == HISTOGRAMS:
            facts.series += int(count)
        elif name == TEXTS:
            paths, texts = path_codes(rows.filter(where(types, [TEXTS])))
            printed = np.array([is_console(text or "") for text in texts], bool)[paths]
            facts.console += int(printed.sum())
            facts.series += int(count) - int(printed.sum())
        elif name not in KNOWN:
            facts.strange[name] += int(count)


def _take(rows: pa.RecordBatch, part: Part, facts: Facts) -> None:
    """Single values and files; rows without a value are left over from a wider table.

    The exporter makes rows of a table of all runs of a batch: what only some of them have, the
    others have as null (neptune3.py, `_convert_parameters_to_schema`).
    """
    for row, step in zip(_rows(rows), millionths(rows.column("step")).tolist()):
        path, kind = row["attribute_path"], row["attribute_type"]
        if path is None:
            facts.damage.append(f"{part.path.name}: an attribute of type {kind} has no path")
        elif kind in VALUES:
            value = row[VALUES[kind]]
            if value is not None:
                known = facts.attributes.setdefault(path, (kind, value))
                if repr(known) != repr((kind, value)):
                    facts.again[path] += 1
                    facts.attributes[path] = kind, value
        elif (place := (row["file_value"] or {}).get("path")) is not None:
            at = None if row["step"] is None else step
            if kind == "file_series":
                facts.series += 1
            facts.files.append(File(path, kind, place, part.path, at, row["timestamp"]))


def _rows(data: pa.RecordBatch) -> Iterable[Row]:
    """Rows as plain values; times that no calendar has are texts, or none where a row has one."""
    columns: dict[str, list[Any]] = {}
    for name in data.schema.names:
        column = data.column(name)
        if name in ("timestamp", "datetime_value"):
            numbers = column.cast(pa.int64()).to_pylist()
            columns[name] = [moment(number) for number in numbers]
            if name == "datetime_value" and None in columns[name]:
                columns[name] = [
                    f"{number} ms" if time is None and number is not None else time
                    for time, number in zip(columns[name], numbers)
                ]
        else:
            columns[name] = column.to_pylist()
    return (dict(zip(columns, values)) for values in zip(*columns.values()))


def moment(milliseconds: int | None) -> datetime | None:
    """A time; None where no calendar has it."""
    if milliseconds is None or not TIMES[0] <= milliseconds <= TIMES[1]:
        return None
    return EPOCH + timedelta(milliseconds=milliseconds)


def failures(report: Path | None) -> dict[RunRef, list[str]]:
    """What the exporter says that it could not fetch, by run."""
    found: dict[RunRef, list[str]] = {}
    if report is None:
        return found
    with report.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            try:
                told = json.loads(line)
                ref = RunRef(str(told["project_id"]), str(told["run_id"]))
                what = told.get("attribute_path") or "something of it"
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                continue
            said = f"{report.name}: line {number}: {what} was not exported: {told.get('exception')}"
            found.setdefault(ref, []).append(said)
    return found
