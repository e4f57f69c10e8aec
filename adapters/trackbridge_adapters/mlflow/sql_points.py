"""Metrics of MLflow's SQL stores as record batches: columnar, with no Python object per point."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import adbc_driver_sqlite.dbapi as adbc
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from adbc_driver_manager import Error as AdbcError

from trackbridge.schema import BATCH_ROWS, TABLES, TIME
from trackbridge_adapters.mlflow.database import Session, translated
from trackbridge_adapters.mlflow.entities import SYSTEM, text

COLUMNS = ("key", "value", "timestamp", "step", "is_nan", "run_uuid")
RUN_INDEX = "index_metrics_run_uuid"
"""There since revision bd07f7e963c5 (2021)."""

SCAN_SHARE = 0.25
"""Share of all points from which on a scan of the table beats look-ups by run (measured)."""

BATCH_OPTION = {"adbc.sqlite.query.batch_rows": str(BATCH_ROWS)}
CACHE = "PRAGMA cache_size = -65536"
"""64 MiB: look-ups by run go back and forth in the table."""

LONGEST_MS = (2**63 - 1) // 1000
"""Times further away from 1970 do not fit into microseconds."""


class _IrregularError(ValueError):
    """A batch holds values of other types than MLflow writes."""


class Points:
    """The points of the runs that `projects` maps to their project label, batch by batch.

    SQLite lets any column hold anything. Where a batch is not as MLflow writes it, the rest is
    read value by value, and what is no number is null: then `irregular` is set, and `damage`
    names what it is.
    """

    def __init__(self, session: Session, projects: Mapping[str, str]) -> None:
        self._session = session
        self._projects = projects
        self.irregular = False

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        query, values = _query(self._session, self._projects)
        done = 0
        try:
            for batch in _fetch(self._session, query, values):
                yield _regular(batch, self._projects)
                done += batch.num_rows
        except _IrregularError:
            self.irregular = True
            rows = self._session.cursor(f"{query} LIMIT -1 OFFSET {done}", values)
            while part := rows.fetchmany(BATCH_ROWS):
                yield _tolerant(part, self._projects)


def damage(session: Session, projects: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Run id and a line for each kind of value that `Points` gives as null."""
    there = session.columns("metrics")
    runs = [json.dumps(list(projects))]
    checks = {
        "value": "typeof(value) NOT IN ('real', 'integer', 'null')",
        "timestamp": "typeof(timestamp) NOT IN ('integer', 'null')"
        f" OR abs(timestamp / 2) > {LONGEST_MS // 2}",
        "step": "typeof(step) NOT IN ('integer', 'null')",
    }
    for column in there & checks.keys():
        found = session.cursor(
            f"SELECT run_uuid, count(*), CAST(min({column}) AS TEXT) FROM metrics"
            f" WHERE run_uuid IN (SELECT value FROM json_each(?)) AND ({checks[column]})"
            " GROUP BY run_uuid",
            runs,
        )
        for run, count, example in found:
            line = f"metrics.{column}: {count} values cannot be read, e.g. {example[:40]!r}"
            yield run, line
    source = "latest_metrics" if "latest_metrics" in session.tables else "metrics"
    keys = f"SELECT DISTINCT run_uuid, key FROM {source} WHERE run_uuid IN"
    for run, key in session.cursor(f"{keys} (SELECT value FROM json_each(?))", runs):
        garbled: list[str] = []
        text(key, "metrics.key", garbled)
        yield from ((run, line) for line in garbled)


def _query(session: Session, projects: Mapping[str, str]) -> tuple[str, list[str]]:
    """A query whose order is the same for every client: it may be resumed."""
    chosen = f"SELECT {session.named('metrics', COLUMNS)} FROM metrics WHERE"
    values = [json.dumps(list(projects))]
    runs = "run_uuid IN (SELECT value FROM json_each(?))"
    if session.has_index(RUN_INDEX):
        (total,) = session.connection.execute("SELECT max(rowid) FROM metrics").fetchone()
        count = f"SELECT count(*) FROM metrics INDEXED BY {RUN_INDEX} WHERE {runs}"
        (asked,) = session.connection.execute(count, values).fetchone()
        if asked < SCAN_SHARE * (total or 0):
            return f"{chosen} {runs} ORDER BY run_uuid, rowid", values
    return f"{chosen} +{runs} ORDER BY rowid", values


def _fetch(session: Session, query: str, values: list[str]) -> Iterator[pa.RecordBatch]:
    try:
        with adbc.connect(session.uri, autocommit=True) as connection:
            with connection.cursor() as cursor:
                cursor.execute(CACHE)
            with connection.cursor() as cursor:
                cursor.adbc_statement.set_options(**BATCH_OPTION)
                cursor.execute(query, values)
                yield from cursor.fetch_record_batch()
    except (AdbcError, pa.ArrowException, OSError) as error:
        if "Type mismatch" in str(error):  # a later row has another type than the first ones
            raise _IrregularError(str(error)) from error
        raise translated(session.path, str(error)) from error


def _regular(batch: pa.RecordBatch, projects: Mapping[str, str]) -> pa.RecordBatch:
    """A fetched batch in the run model; `_IrregularError` if its types are not MLflow's."""
    key, value, timestamp, step, is_nan, run = batch.columns
    numbers = (timestamp, step, is_nan)
    if not (
        all(column.type == pa.int64() for column in numbers)
        and value.type in (pa.float64(), pa.int64())
        and key.type == run.type == pa.string()
        and not (key.null_count or run.null_count)
    ):
        raise _IrregularError(f"types {[str(column.type) for column in batch.columns]}")
    value = value.cast(pa.float64(), safe=False)
    odd = is_nan.cast(pa.bool_())
    if pc.any(odd).as_py():
        value = pc.if_else(odd.fill_null(False), math.nan, value)
    try:
        time = timestamp.cast(pa.timestamp("ms", "UTC")).cast(TIME)
        keys, runs = key.dictionary_encode(), run.dictionary_encode()
        keys.dictionary.validate(full=True)
    except pa.ArrowInvalid as error:
        raise _IrregularError(str(error)) from error
    return _batch(keys, runs, step, time, value, projects)


def _tolerant(rows: list[tuple[Any, ...]], projects: Mapping[str, str]) -> pa.RecordBatch:
    """Rows with whatever is in them, value by value."""
    unlogged: list[str] = []
    key, value, timestamp, step, is_nan, run = zip(*rows)
    values = [math.nan if odd else _number(v) for v, odd in zip(value, is_nan)]
    times = [_whole(t, LONGEST_MS) for t in timestamp]
    return _batch(
        pa.array([text(k, "key", unlogged) or "" for k in key]).dictionary_encode(),
        pa.array(run).dictionary_encode(),
        pa.array([_whole(s, 2**63 - 1) for s in step], pa.int64()),
        pa.array(times, pa.timestamp("ms", "UTC")).cast(TIME),
        pa.array(values, pa.float64()),
        projects,
    )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _whole(value: Any, limit: int) -> int | None:
    return value if isinstance(value, int) and abs(value) <= limit else None


def _batch(
    keys: pa.DictionaryArray,
    runs: pa.DictionaryArray,
    step: pa.Array,
    time: pa.Array,
    value: pa.Array,
    projects: Mapping[str, str],
) -> pa.RecordBatch:
    keys, system = _split_system(keys)
    labels = pa.array([projects[run] for run in runs.dictionary.to_pylist()]).dictionary_encode()
    codes = labels.indices.take(runs.indices)
    columns = [
        pa.DictionaryArray.from_arrays(codes, labels.dictionary),
        runs,
        keys,
        step,
        time,
        pa.nulls(len(step), pa.int64()),
        value,
        system,
    ]
    return pa.RecordBatch.from_arrays(columns, schema=TABLES["metrics"])


def _split_system(keys: pa.DictionaryArray) -> tuple[pa.DictionaryArray, pa.Array]:
    """Names without the prefix of system metrics, and which rows had it."""
    names = keys.dictionary.to_pylist()
    system = np.array([name.startswith(SYSTEM) for name in names], np.bool_)
    if not system.any():
        return keys, pa.repeat(pa.scalar(False), len(keys))
    short = pa.array([name.removeprefix(SYSTEM) for name in names]).dictionary_encode()
    codes = keys.indices.to_numpy()
    indices = pa.array(short.indices.to_numpy()[codes], pa.int32())
    return pa.DictionaryArray.from_arrays(indices, short.dictionary), pa.array(system[codes])
