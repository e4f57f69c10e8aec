"""Finds the runs that meet an expression, reading no more of them than it asks for."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trackbridge.adapter import Batch, Reader, Row, RunInfo, RunRef
from trackbridge.columns import groups, label, numpy_of
from trackbridge.fit import holds_everything
from trackbridge.plan import chunked
from trackbridge.sidecar import Overlay
from trackbridge.where import (
    ATTRIBUTES,
    DATASETS,
    LISTED,
    METRICS,
    MOMENTS,
    PARAMS,
    TAGS,
    TEXTS,
    Clause,
    Facts,
    holds,
    milliseconds,
)

SMALL = {ATTRIBUTES: "runs", PARAMS: "params", TAGS: "tags", DATASETS: "inputs"}
"""The small table that has what a kind of clause asks for."""

Place = tuple[bool, int, int, float]
"""Order of points: the run's own after those of the tracker, then step, time and value."""


def sift(reader: Reader, infos: Iterable[RunInfo], clauses: Sequence[Clause]) -> list[RunInfo]:
    """Those of the runs that meet every clause, in their order.

    First by what the listing says, then by small tables, points last and of the keys asked for
    alone; each time only runs that have met everything so far are read.
    """
    left = [info for info in infos if _may_meet(reader, info, clauses)]
    exact = all(_is_exact(reader, info) for info in left)
    small = [c for c in clauses if c.kind != METRICS and not _is_listed(c, exact=exact)]
    if small:
        left = [info for chunk in chunked(left) for info in _by_rows(reader, chunk.runs, small)]
    points = [clause for clause in clauses if clause.kind == METRICS]
    if points:
        left = [info for chunk in chunked(left) for info in _by_points(reader, chunk.runs, points)]
    return left


def _may_meet(reader: Reader, info: RunInfo, clauses: Iterable[Clause]) -> bool:
    """What the listing says; of a run that was brought there, it may say less than is known."""
    exact = _is_exact(reader, info)
    facts = Facts(
        info.ids,
        {
            "run_name": info.name,
            "status": info.status.upper() if info.status else None,
            "start_time": milliseconds(info.started),
        },
    )
    return all(holds(clause, facts) for clause in clauses if _is_listed(clause, exact=exact))


def _is_exact(reader: Reader, info: RunInfo) -> bool:
    """Whether the listing says of a run what is known of it, and not a poorer form."""
    return not info.carried or holds_everything(reader.capabilities)


def _is_listed(clause: Clause, *, exact: bool) -> bool:
    """Whether the listing answers the clause."""
    return clause.kind == ATTRIBUTES and (
        clause.key == "run_id" or (exact and clause.key in LISTED)
    )


def _by_rows(
    reader: Reader, infos: Sequence[RunInfo], clauses: Sequence[Clause]
) -> Iterable[RunInfo]:
    tables = sorted({SMALL[clause.kind] for clause in clauses})
    known = _known(infos)
    for batch in Overlay(reader, infos).read(tables):
        if batch.table in tables:
            for row in batch.data.to_pylist():
                _note(known[RunRef(row["project"], row["run_id"])], batch.table, row)
    return _meeting(infos, known, clauses)


def _note(facts: Facts, table: str, row: Row) -> None:
    if table == "runs":
        texts: dict[str, Any] = {name: row[column] for name, column in TEXTS.items()}
        texts["status"] = row["status"].upper() if row["status"] else None
        moments = {name: milliseconds(row[column]) for name, column in MOMENTS.items()}
        facts.attributes = {**texts, **moments}
    elif table == "inputs":
        facts.datasets.append({name: row[name] for name in ("name", "digest", "context")})
    else:
        of = facts.params if table == "params" else facts.tags
        of.setdefault(row["key"], []).append(row["value"])


def _by_points(
    reader: Reader, infos: Sequence[RunInfo], clauses: Sequence[Clause]
) -> Iterable[RunInfo]:
    known, keys = _known(infos), {clause.key for clause in clauses}
    last: dict[tuple[RunRef, str], tuple[Place, float]] = {}
    for batch in Overlay(reader, infos).read(["metrics", "summary"]):
        if batch.table == "metrics":
            _note_last(batch.data, keys, last)
        elif batch.table == "summary":
            _note_summary(batch, keys, known)
    for (run, key), (_, value) in last.items():
        known[run].metrics[key] = value
    return _meeting(infos, known, clauses)


def _note_last(
    data: pa.RecordBatch,
    keys: Collection[str],
    last: dict[tuple[RunRef, str], tuple[Place, float]],
) -> None:
    """The points that are the last ones of their metrics so far, and their values."""
    wanted = pc.is_in(data.column("key").cast(pa.string()), pa.array(sorted(keys), pa.string()))
    data = data.filter(wanted)
    if not data.num_rows:
        return
    group, _ = groups(data, "project", "run_id", "key")
    values = numpy_of(data.column("value"), np.float64)
    order = {
        "own": ~np.array(data.column("system").fill_null(False), np.bool_),
        "step": _numbers(data.column("step")),
        "time": _numbers(data.column("time")),
        "value": np.where(np.isnan(values), 0.0, values),
    }
    rows = np.lexsort((*reversed(order.values()), group))
    for row in rows[np.append(np.diff(group[rows]) != 0, True)].tolist():
        name = (label(data, row), data.column("key")[row].as_py())
        place: Any = tuple(column[row].item() for column in order.values())
        if name not in last or place > last[name][0]:
            last[name] = place, values[row].item()


def _numbers(column: pa.Array) -> np.ndarray[Any, Any]:
    """Steps or times; points without one come before all others."""
    first = np.iinfo(np.int64).min
    return numpy_of(column.cast(pa.int64()).fill_null(first), np.int64)


def _note_summary(batch: Batch, keys: Collection[str], known: dict[RunRef, Facts]) -> None:
    """Final values that the run set; points of the same key go before."""
    for row in batch.data.to_pylist():
        if row["key"] in keys and row["type"] in ("integer", "float"):
            value = float(json.loads(row["value"]))
            known[RunRef(row["project"], row["run_id"])].metrics[row["key"]] = value


def _known(infos: Iterable[RunInfo]) -> dict[RunRef, Facts]:
    return {info.key.born: Facts(info.ids) for info in infos}


def _meeting(
    infos: Iterable[RunInfo], known: dict[RunRef, Facts], clauses: Sequence[Clause]
) -> Iterable[RunInfo]:
    for info in infos:
        facts = known[info.key.born]
        if all(holds(clause, facts) for clause in clauses):
            yield info
