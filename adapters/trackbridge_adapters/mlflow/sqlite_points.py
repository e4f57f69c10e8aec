"""Points out of SQLite files, which may hold anything in any column."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from trackbridge_adapters.mlflow.entities import text
from trackbridge_adapters.mlflow.locked import TypeChangeError
from trackbridge_adapters.mlflow.session import IN, LONGEST_MS, POINT, fit_in_time
from trackbridge_adapters.mlflow.sqlite import SqliteSession

TYPES = (pa.string(), pa.string(), pa.float64(), pa.int64(), pa.int64(), pa.int64())

DEFAULTS = {"step": "0", "is_nan": "0"}
"""What MLflow's migrations gave the points of revisions that had no such column."""

GOOD = {
    "value": "typeof(value) IN ('real', 'integer')",
    "timestamp": f"typeof(timestamp) = 'integer' AND abs(timestamp / 2) <= {LONGEST_MS // 2}",
    "step": "typeof(step) = 'integer'",
}
"""When a value is one that MLflow could have written: SQLite lets any column hold anything."""

RUN_INDEX = "index_metrics_run_uuid"
"""There since revision bd07f7e963c5 (2021)."""

SCAN_SHARE = 0.25
"""Share of the points between the first and the last one from which on a scan beats look-ups by
run (measured)."""


def points(session: SqliteSession, runs: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """See `Session.points`."""
    rest, values = _rest(session, runs)
    done = 0
    try:
        for data in session.batches(f"SELECT {_plain(session)} {rest}", values):
            if data.schema.types != list(TYPES) or any(c.null_count for c in data.columns):
                raise TypeChangeError
            if not fit_in_time(data):
                raise TypeChangeError
            yield data
            done += data.num_rows
    except (TypeChangeError, pa.ArrowInvalid):
        query = f"SELECT {_tolerant(session)} {rest} LIMIT -1 OFFSET {done}"
        for data in session.batches(query, values):
            yield _without_bad(data)


def damage(session: SqliteSession, runs: Sequence[str]) -> Iterator[tuple[str, str]]:
    """See `Session.bad_points`."""
    ids = [json.dumps(list(runs))]
    for column in sorted(session.columns("metrics").keys() & GOOD.keys()):
        bad = f"{column} IS NOT NULL AND NOT ({GOOD[column]})"
        found = session.fetch(
            f"SELECT run_uuid, count(*), CAST(min({column}) AS TEXT) FROM metrics"
            f" WHERE run_uuid {IN} AND {bad} GROUP BY run_uuid",
            ids,
        )
        for run, count, example in found:
            line = f"metrics.{column}: {count} values cannot be read, e.g. {example[:40]!r}"
            yield run, line
    keys = f"SELECT DISTINCT run_uuid, key FROM metrics WHERE run_uuid {IN}"
    for run, key in session.fetch(keys, ids):
        garbled: list[str] = []
        text(key, "metrics.key", garbled)
        yield from ((run, line) for line in garbled)


def _rest(session: SqliteSession, runs: Sequence[str]) -> tuple[str, list[Any]]:
    """The end of a query, with an order that is the same each time: it may be resumed.

    Points of runs that were written one after the other lie together, and are scanned there.
    """
    if session.has_every(runs):
        return "FROM metrics ORDER BY rowid", []
    ids = json.dumps(list(runs))
    if not session.has_index(RUN_INDEX):
        return f"FROM metrics WHERE +run_uuid {IN} ORDER BY rowid", [ids]
    of_run = f"FROM metrics INDEXED BY {RUN_INDEX} WHERE run_uuid = json_each.value"
    edges = f"min((SELECT min(rowid) {of_run})), max((SELECT max(rowid) {of_run}))"
    ((first, last),) = session.fetch(f"SELECT {edges} FROM json_each(?)", [ids])
    if first is None:
        return "FROM metrics WHERE 0", []
    many = int(SCAN_SHARE * (last - first + 1))
    asked = f"SELECT 1 FROM metrics INDEXED BY {RUN_INDEX} WHERE run_uuid {IN} LIMIT {many}"
    ((count,),) = session.fetch(f"SELECT count(*) FROM ({asked})", [ids])
    if count < many:
        return f"FROM metrics WHERE run_uuid {IN} ORDER BY run_uuid, rowid", [ids]
    return (
        f"FROM metrics WHERE rowid BETWEEN ? AND ? AND +run_uuid {IN} ORDER BY rowid",
        [first, last, ids],
    )


def _plain(session: SqliteSession) -> str:
    there = session.columns("metrics")
    return ", ".join(c if c in there else f"{DEFAULTS[c]} AS {c}" for c in POINT)


def _tolerant(session: SqliteSession) -> str:
    """The columns with 0 for what is no number, and behind them which are numbers.

    Without nulls the driver cannot mistake a column's type.
    """
    there = session.columns("metrics")
    chosen = ["CAST(coalesce(key, '') AS TEXT)", "CAST(run_uuid AS TEXT)"]
    for column, cast in (("value", "REAL"), ("timestamp", "INTEGER"), ("step", "INTEGER")):
        good = GOOD[column] if column in there else "0"
        chosen.append(f"CAST(CASE WHEN {good} THEN {column} ELSE 0 END AS {cast})")
    chosen.append("coalesce(is_nan, 0) <> 0" if "is_nan" in there else "0")
    chosen += [GOOD[column] if column in there else "1" for column in GOOD]
    return ", ".join(chosen)


def _without_bad(data: pa.RecordBatch) -> pa.RecordBatch:
    """The columns with null for what is no number."""
    key, run, value, timestamp, step, is_nan, *good = data.columns
    numbers = [
        pc.if_else(flag.cast(pa.bool_()), column, pa.scalar(None, column.type))
        for column, flag in zip((value, timestamp, step), good)
    ]
    return pa.RecordBatch.from_arrays([key, run, *numbers, is_nan], names=list(POINT))
