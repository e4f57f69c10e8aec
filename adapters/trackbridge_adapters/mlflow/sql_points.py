"""Metrics of MLflow's SQL stores as record batches: columnar, with no Python object per point."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trackbridge.schema import TABLES, TIME
from trackbridge_adapters.mlflow.entities import SYSTEM, text
from trackbridge_adapters.mlflow.locked import TypeChangeError
from trackbridge_adapters.mlflow.session import IN, Session

COLUMNS = ("key", "run_uuid", "value", "timestamp", "step", "is_nan")
TYPES = (pa.string(), pa.string(), pa.float64(), pa.int64(), pa.int64(), pa.int64())

DEFAULTS = {"step": "0", "is_nan": "0"}
"""What MLflow's migrations gave the points of revisions that had no such column."""

LONGEST_MS = (2**63 - 1) // 1000
"""Times further away from 1970 do not fit into microseconds."""

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


class Points:
    """The points of the runs that `projects` maps to their project label, batch by batch.

    Where a batch is not as MLflow writes it, `irregular` is set, and what is no number there is
    null from then on; `damage` names it.
    """

    def __init__(self, session: Session, projects: Mapping[str, str]) -> None:
        self._session = session
        self._projects = projects
        self.irregular = False

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        rest, values = _rest(self._session, self._projects)
        done = 0
        try:
            for data in self._session.batches(f"SELECT {_plain(self._session)} {rest}", values):
                if data.schema.types != list(TYPES) or any(c.null_count for c in data.columns):
                    raise TypeChangeError
                yield self._batch(data)
                done += data.num_rows
        except (TypeChangeError, pa.ArrowInvalid):
            self.irregular = True
            query = f"SELECT {_tolerant(self._session)} {rest} LIMIT -1 OFFSET {done}"
            for data in self._session.batches(query, values):
                yield self._batch(_without_bad(data))

    def _batch(self, data: pa.RecordBatch) -> pa.RecordBatch:
        """Columns of the table as rows of the run model; points without a run are left out."""
        key, run, value, timestamp, step, is_nan = data.columns
        odd = is_nan.cast(pa.bool_())
        if pc.any(odd).as_py():
            value = pc.if_else(odd, math.nan, value)
        keys, system = self._split_system(key.dictionary_encode())
        runs = run.dictionary_encode()
        labels = [self._projects.get(run_id) for run_id in runs.dictionary.to_pylist()]
        projects = pa.array(labels, pa.string()).dictionary_encode()
        index = projects.indices.take(runs.indices)
        columns = [
            pa.DictionaryArray.from_arrays(index, projects.dictionary),
            runs,
            keys,
            step,
            timestamp.cast(pa.timestamp("ms", "UTC")).cast(TIME),
            pa.nulls(len(step), pa.int64()),
            value,
            system,
        ]
        rows = pa.RecordBatch.from_arrays(columns, schema=TABLES["metrics"])
        return rows.filter(index.is_valid()) if None in labels else rows

    def _split_system(self, keys: pa.DictionaryArray) -> tuple[pa.DictionaryArray, pa.Array]:
        """Names without the prefix of system metrics, and which rows had it."""
        garbled: list[str] = []
        raw = keys.dictionary.cast(pa.binary()).to_pylist()
        names = [text(name, "", garbled) or "" for name in raw]
        self.irregular |= bool(garbled)
        system = np.array([name.startswith(SYSTEM) for name in names], np.bool_)
        if not garbled and not system.any():
            return keys, pa.repeat(pa.scalar(False), len(keys))
        short = pa.array([name.removeprefix(SYSTEM) for name in names]).dictionary_encode()
        codes = keys.indices.to_numpy()
        indices = pa.array(short.indices.to_numpy()[codes], pa.int32())
        return pa.DictionaryArray.from_arrays(indices, short.dictionary), pa.array(system[codes])


def damage(session: Session, projects: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Run id and a line for each kind of value that `Points` gives as null or changed."""
    runs = [json.dumps(list(projects))]
    for column in sorted(session.columns("metrics") & GOOD.keys()):
        bad = f"{column} IS NOT NULL AND NOT ({GOOD[column]})"
        found = session.fetch(
            f"SELECT run_uuid, count(*), CAST(min({column}) AS TEXT) FROM metrics"
            f" WHERE run_uuid {IN} AND {bad} GROUP BY run_uuid",
            runs,
        )
        for run, count, example in found:
            line = f"metrics.{column}: {count} values cannot be read, e.g. {example[:40]!r}"
            yield run, line
    keys = f"SELECT DISTINCT run_uuid, key FROM metrics WHERE run_uuid {IN}"
    for run, key in session.fetch(keys, runs):
        garbled: list[str] = []
        text(key, "metrics.key", garbled)
        yield from ((run, line) for line in garbled)


def _rest(session: Session, projects: Mapping[str, str]) -> tuple[str, list[Any]]:
    """The end of a query, with an order that is the same each time: it may be resumed.

    Points of runs that were written one after the other lie together, and are scanned there.
    """
    ((runs,),) = session.fetch("SELECT count(*) FROM runs")
    if runs == len(projects):
        return "FROM metrics ORDER BY rowid", []
    ids = json.dumps(list(projects))
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


def _plain(session: Session) -> str:
    there = session.columns("metrics")
    return ", ".join(c if c in there else f"{DEFAULTS[c]} AS {c}" for c in COLUMNS)


def _tolerant(session: Session) -> str:
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
    return pa.RecordBatch.from_arrays([key, run, *numbers, is_nan], names=list(COLUMNS))
