"""Points out of SQLite files, which may hold anything in any column."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from trackbridge.adapter import RunInfo
from trackbridge.optional import Excerpt
from trackbridge_adapters.mlflow.entities import text
from trackbridge_adapters.mlflow.locked import TypeChangeError
from trackbridge_adapters.mlflow.session import (
    EVERY_POINT,
    IN,
    LONGEST_MS,
    POINT,
    fit_in_time,
    native_keys,
)
from trackbridge_adapters.mlflow.sqlite import RUN_INDEX, SqliteSession

TYPES = (pa.string(), pa.string(), pa.float64(), pa.int64(), pa.int64(), pa.int64())

DEFAULTS = {"step": "0", "is_nan": "0"}
"""What MLflow's migrations gave the points of revisions that had no such column."""

GOOD = {
    "value": "typeof(value) IN ('real', 'integer')",
    "timestamp": f"typeof(timestamp) = 'integer' AND abs(timestamp / 2) <= {LONGEST_MS // 2}",
    "step": "typeof(step) = 'integer'",
}
"""When a value is one that MLflow could have written: SQLite lets any column hold anything."""

KEY_SHARE = 0.1
"""Share of the runs from which on points of some keys are found by key, not by run (measured)."""

RUN_SHARE = 0.2
"""The same for the points of one run, of those of all: of the space that they lie in."""

EVERY_KEY = """
WITH RECURSIVE keys(key) AS (
    SELECT min(key) FROM metrics
    UNION ALL
    SELECT (SELECT min(key) FROM metrics WHERE key > keys.key) FROM keys WHERE key IS NOT NULL
)
SELECT key FROM keys WHERE key IS NOT NULL
"""
"""The keys of the table, each found by the primary key from the one before."""

_OF_RUN = f"FROM metrics INDEXED BY {RUN_INDEX} WHERE run_uuid = json_each.value"
_EDGES = f"min((SELECT min(rowid) {_OF_RUN})), max((SELECT max(rowid) {_OF_RUN}))"
"""Where the first and the last point of some runs lie."""

KEY_ORDER = ("key", "timestamp", "step", "run_uuid", "value", "is_nan")
"""The primary key of `metrics`: in this order, points of some keys come out of its index alone."""

SCAN_SHARE = 0.25
"""Share of the points between the first and the last one from which on a scan beats look-ups by
run (measured)."""


def points(
    session: SqliteSession, runs: Sequence[str], excerpt: Excerpt = EVERY_POINT
) -> Iterator[pa.RecordBatch]:
    """See `Session.points`."""
    yield from _read(session, *_rest(session, runs, excerpt))


def pieces(session: SqliteSession, info: RunInfo, points: int) -> Sequence[str]:
    """Ranges of rows, in which points lie as they were logged, in one state of the database.

    Where they are few among those of other runs, they are looked up by run.
    """
    if not session.state or not session.has_index(RUN_INDEX):
        return ()
    ((first, last),) = session.fetch(f"SELECT {_EDGES} FROM json_each(?)", [_ids(info)])
    if first is None:
        return ()
    width, count = last - first + 1, max(1, round(info.points / points))
    sign = "+" if info.points >= SCAN_SHARE * width else ""
    edges = [first + width * number // count for number in range(count + 1)]
    return [f"{session.state}:{sign}{begin}:{end - 1}" for begin, end in pairwise(edges)]


def piece(session: SqliteSession, run: str, piece: str) -> Iterator[pa.RecordBatch]:
    """See `Session.piece`."""
    state, *ends = piece.split(":")
    if state != session.state:
        return
    sign = "+" if ends[0].startswith("+") else ""
    edges = [int(edge) for edge in ends]
    rest = f"FROM metrics WHERE rowid BETWEEN ? AND ? AND {sign}run_uuid = ? ORDER BY rowid"
    yield from _read(session, rest, [*edges, run])


def _ids(info: RunInfo) -> str:
    return json.dumps([info.ref.run_id])


def _read(session: SqliteSession, rest: str, values: list[Any]) -> Iterator[pa.RecordBatch]:
    """The points of a query, and what is no number as null."""
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


def no_numbers(session: SqliteSession, runs: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Run id and a line for each column in which it has what is no number; all points are read."""
    ids = [json.dumps(list(runs))]
    columns = sorted(session.columns("metrics").keys() & GOOD.keys())
    bad = {column: f"({column} IS NOT NULL AND NOT ({GOOD[column]}))" for column in columns}
    where, _, values = _of_runs(session, runs)
    any_bad = f"SELECT 1 FROM metrics WHERE {where} AND ({' OR '.join(bad.values())}) LIMIT 1"
    for column in columns if session.fetch(any_bad, values) else ():
        found = session.fetch(
            f"SELECT run_uuid, count(*), CAST(min({column}) AS TEXT) FROM metrics"
            f" WHERE run_uuid {IN} AND {bad[column]} GROUP BY run_uuid",
            ids,
        )
        for run, count, example in found:
            line = f"metrics.{column}: {count} values cannot be read, e.g. {example[:40]!r}"
            yield run, line


def garbled_keys(session: SqliteSession, runs: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Run id and a line for each key that is no text; the points are not read."""
    if not any(_garbled(key) for (key,) in session.fetch(EVERY_KEY)):
        return
    keys = f"SELECT DISTINCT run_uuid, key FROM metrics WHERE run_uuid {IN}"
    for run, key in session.fetch(keys, [json.dumps(list(runs))]):
        yield from ((run, line) for line in _garbled(key))


def _garbled(key: Any) -> list[str]:
    found: list[str] = []
    text(key, "metrics.key", found)
    return found


def _rest(session: SqliteSession, runs: Sequence[str], excerpt: Excerpt) -> tuple[str, list[Any]]:
    """The end of a query, with an order that is the same each time: it may be resumed."""
    of_keys, keys = _of_keys(excerpt)
    of_steps, edges = _of_steps(session, excerpt)
    every = session.has_every(runs)
    ids = json.dumps(list(runs))
    if of_keys and (
        len(runs) >= KEY_SHARE * session.count("runs") or _is_large(session, runs, ids)
    ):
        of_runs = "" if every else f"AND +run_uuid {IN}"
        order = ", ".join(c for c in KEY_ORDER if c in session.columns("metrics"))
        rest = f"FROM metrics WHERE {of_keys} {of_steps} {of_runs} ORDER BY {order}"
        return rest, [*keys, *edges, *([] if every else [ids])]
    where, order, values = _of_runs(session, runs)
    also = f"AND +{of_keys}" if of_keys else ""
    rest = f"FROM metrics WHERE {where} {also} {of_steps} ORDER BY {order}"
    return rest, [*values, *keys, *edges]


def _is_large(session: SqliteSession, runs: Sequence[str], ids: str) -> bool:
    """Whether one run's points lie over so much of the table that going by keys is no longer."""
    if len(runs) > 1 or not session.has_index(RUN_INDEX):
        return False
    ((first, last),) = session.fetch("SELECT min(rowid), max(rowid) FROM metrics")
    ((begin, end),) = session.fetch(f"SELECT {_EDGES} FROM json_each(?)", [ids])
    return begin is not None and end - begin >= RUN_SHARE * (last - first)


def _of_keys(excerpt: Excerpt) -> tuple[str, list[Any]]:
    """A condition on the key; empty where there is none. Some keys may be there as bytes."""
    keys = None if excerpt.keys is None else native_keys(excerpt.keys)
    if keys is None:
        return "", []
    listed = json.dumps(keys)
    bytes_too = "SELECT CAST(value AS BLOB) FROM json_each(?)"
    return f"key IN (SELECT value FROM json_each(?) UNION ALL {bytes_too})", [listed, listed]


def _of_steps(session: SqliteSession, excerpt: Excerpt) -> tuple[str, list[Any]]:
    """Conditions on the step, each after an AND. What is no number counts as a point without."""
    conditions: list[str] = []
    if "step" in session.columns("metrics"):
        if excerpt.first is not None:
            conditions.append("AND step >= ?")  # texts are greater than any number
        if excerpt.last is not None:
            odd = f" OR NOT ({GOOD['step']})" if excerpt.first is None else ""
            conditions.append(f"AND (step <= ?{odd})")
    edges = [edge for edge in (excerpt.first, excerpt.last) if edge is not None]
    return " ".join(conditions), edges if conditions else []


def _of_runs(session: SqliteSession, runs: Sequence[str]) -> tuple[str, str, list[Any]]:
    """A condition on the run, the order in which points are found by it, and its values.

    Points of runs that were written one after the other lie together, and are scanned there.
    """
    if session.has_every(runs):
        return "1", "rowid", []
    ids = json.dumps(list(runs))
    if not session.has_index(RUN_INDEX):
        return f"+run_uuid {IN}", "rowid", [ids]
    ((first, last),) = session.fetch(f"SELECT {_EDGES} FROM json_each(?)", [ids])
    if first is None:
        return "0", "rowid", []
    many = int(SCAN_SHARE * (last - first + 1))
    asked = f"SELECT 1 FROM metrics INDEXED BY {RUN_INDEX} WHERE run_uuid {IN} LIMIT {many}"
    ((count,),) = session.fetch(f"SELECT count(*) FROM ({asked})", [ids])
    if count < many:
        return f"run_uuid {IN}", "run_uuid, rowid", [ids]
    return f"rowid BETWEEN ? AND ? AND +run_uuid {IN}", "rowid", [first, last, ids]


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
