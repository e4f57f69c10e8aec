"""Sessions and transactions on database servers, in SQL that they share."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from trackbridge.adapter import Row, RunInfo
from trackbridge.errors import DuplicatePointsError, IntegrityError, TransientError
from trackbridge.optional import Excerpt
from trackbridge_adapters.mlflow import sql_split
from trackbridge_adapters.mlflow.session import (
    EVERY_POINT,
    IN,
    LONGEST_MS,
    POINT,
    Rows,
    Session,
    Transaction,
    fit_in_time,
    native_keys,
)

PUT_ROWS = 500
"""Rows of one statement that puts rows."""

APART = "\x1f"
"""Stands between values of a point that a server joins to one text (ASCII's unit separator)."""

BLOCK_SHARE = 0.1
"""Share of all points from which on those of a run are read by blocks of the table."""

NEAR = 100
"""Rows of a kind that others make in a moment, at most."""

LARGEST = {"integer": 2**31 - 1, "int": 2**31 - 1, "bigint": 2**63 - 1}
"""Greatest number of a column's type."""


class UniqueError(IntegrityError):
    """A row of the same key is there already."""


class Connection(Protocol):
    """A server in the terms of its driver; queries hold values by `?` and lists by `IN`."""

    tables: str
    """Query for the names of the tables, also of those that the user may not read."""
    columns: str
    """Query for table, name and type of their columns."""
    defaults: Mapping[str, str]
    """What MLflow's migrations gave the points of revisions that had no such column."""

    def check_rights(self) -> None:
        """`ConfigError` where tables may be there that the user cannot know of."""
        ...

    def begin(self, *, writing: bool) -> None:
        """Start a transaction: one that only reads sees one state of the database."""
        ...

    def lock(self, wait: int) -> None:
        """Be the only Trackbridge that writes; `TransientError` after `wait` seconds."""
        ...

    def making(self) -> AbstractContextManager[None]:
        """While MLflow makes its tables; what a killed process left half-made is gone before."""
        ...

    def fetch(self, query: str, values: Sequence[Any]) -> Rows: ...

    def points(
        self, columns: Sequence[str], rest: str, values: Sequence[Any]
    ) -> Iterator[pa.RecordBatch]:
        """Rows of `metrics`, at most `BATCH_ROWS` at a time, as they come.

        `columns` are expressions for those in `POINT`; `rest` is the end of the query. No run's id
        has `APART` in it.
        """
        ...

    def blocks(self) -> tuple[int, int]:
        """Blocks and about how many rows `metrics` has; no blocks if they cannot be asked for."""
        ...

    def state(self) -> str:
        """What tells, with `is_as_in`, whether rows of `metrics` have changed; without `-`."""
        ...

    def is_as_in(self, state: str, rest: str, values: Sequence[Any]) -> bool:
        """Whether the rows of a part of `metrics` are those of that state, in their places.

        So they are until the transaction ends.
        """
        ...

    def execute(self, query: str, values: Sequence[Any]) -> None: ...

    def ingest(self, table: str, data: pa.Table, types: Mapping[str, str]) -> None:
        """Add columns in bulk; `types` are those of the table's columns."""
        ...

    def conflict(self, key: Sequence[str], columns: Sequence[str]) -> str:
        """The end of an INSERT that overwrites the columns of rows of the same key."""
        ...

    def allocate(self, table: str, column: str) -> int:
        """The number that the server gives a new row, and no other any more."""
        ...

    def skip(self, table: str, column: str, number: int) -> None:
        """Make that the server gives no new row this number."""
        ...

    def commit(self) -> None: ...

    def close(self) -> None: ...


class ServerSession(Session):
    """One transaction that only reads."""

    def __init__(self, name: str, connection: Connection) -> None:
        self._connection = connection
        self._columns: dict[str, dict[str, str]] = {}
        super().__init__(name)

    def table_names(self) -> Sequence[str]:
        self._connection.check_rights()
        return [name for (name,) in self.fetch(self._connection.tables)]

    def columns(self, table: str) -> Mapping[str, str]:
        if not self._columns:
            found: dict[str, dict[str, str]] = defaultdict(dict)
            for name, column, kind in self.fetch(self._connection.columns):
                found[name][column] = kind
            self._columns = dict(found)
        return self._columns.get(table, {})

    def fetch(self, query: str, values: Sequence[Any] = ()) -> Rows:
        return self._connection.fetch(query, values)

    def points(
        self, runs: Sequence[str], excerpt: Excerpt = EVERY_POINT
    ) -> Iterator[pa.RecordBatch]:
        odd = next((run for run in runs if APART in run), None)
        if odd is not None:
            raise IntegrityError(f"{self.name}: run {odd!r}: an id with {APART!r} cannot be read")
        every = None if self.has_every(runs) else runs
        yield from self._points(*_where(every, excerpt, self.columns("metrics")))

    def _points(self, rest: str, values: Sequence[Any]) -> Iterator[pa.RecordBatch]:
        there = self.columns("metrics")
        names = {column: f'"{column}"' for column in there}
        names = {**self._connection.defaults, **names}
        if there["value"] == "float":  # MySQL gives just six digits of its FLOAT, as 0.x made it
            names["value"] = '"value" + 0e0'
        chosen = [names[column] for column in POINT]
        for data in self._connection.points(chosen, rest, values):
            yield data if fit_in_time(data) else _within_time(data)

    def pieces(self, info: RunInfo, points: int) -> Sequence[str]:
        """Ranges of the table's blocks where the server finds these, else lists of names.

        Going through all blocks once is too much for a run that has few of them.
        """
        blocks, rows = self._connection.blocks()
        if info.points < BLOCK_SHARE * rows or not blocks:
            return sql_split.by_key(self, info, points)
        count = min(max(1, round(info.points / points)), blocks)
        edges = [blocks * number // count for number in range(count)]
        state = self._connection.state()
        return [f"{state}-{begin}-{end}" for begin, end in zip(edges, [*edges[1:], ""])]

    def piece(self, run: str, piece: str) -> Iterator[pa.RecordBatch]:
        if piece.startswith("["):
            listed = [json.dumps([run]), json.dumps(sql_split.keys_of(piece))]
            rest = f'WHERE run_uuid {IN} AND "key" {IN}'
        else:
            state, begin, end = piece.split("-")
            rest = f"WHERE run_uuid {IN} AND ctid >= '({int(begin)},0)'"
            rest += f" AND ctid < '({int(end)},0)'" if end else ""
            listed = [json.dumps([run])]
            if not self._connection.is_as_in(state, rest, listed):
                return
        yield from self._points(rest, listed)

    def bad_points(self, runs: Sequence[str], *, sound: bool = False) -> Iterator[tuple[str, str]]:
        if sound:
            return
        found = self.fetch(
            f"SELECT run_uuid, count(*), min(timestamp) FROM metrics WHERE run_uuid {IN}"
            " AND (timestamp > ? OR timestamp < ?) GROUP BY run_uuid",
            [json.dumps(list(runs)), LONGEST_MS, -LONGEST_MS],
        )
        for run, count, example in found:
            yield run, f"metrics.timestamp: {count} values cannot be read, e.g. '{example}'"

    def close(self) -> None:
        self._connection.close()


class ServerTransaction(ServerSession, Transaction):
    """One writing transaction, under a lock that other Trackbridges wait for."""

    def execute(self, query: str, values: Sequence[Any] = ()) -> None:
        self._connection.execute(query, values)

    def ingest(self, table: str, data: pa.Table | pa.RecordBatch) -> None:
        whole = data if isinstance(data, pa.Table) else pa.Table.from_batches([data])
        try:
            self._connection.ingest(table, whole, self.columns(table))
        except UniqueError as error:
            if table in ("metrics", "latest_metrics"):
                raise DuplicatePointsError(
                    f"{self.name}: a point occurs twice, and MLflow holds each one once"
                ) from error
            if table == "experiments":
                raise TransientError(
                    f"{self.name}: somebody else has made an experiment meanwhile; trying again"
                ) from error
            raise

    def add(self, table: str, data: pa.Table) -> None:
        self.put(table, data.column_names, data.to_pylist())

    def insert(self, table: str, rows: Sequence[Row]) -> None:
        if rows:
            there = self.columns(table)
            names = [name for name in rows[0] if name in there]
            self.ingest(table, pa.table({n: [row[n] for row in rows] for n in names}))

    def put(self, table: str, key: Sequence[str], rows: Sequence[Row]) -> None:
        there = self.columns(table)
        for start in range(0, len(rows), PUT_ROWS):
            part = rows[start : start + PUT_ROWS]
            names = [name for name in part[0] if name in there]
            own = [name for name in key if name in there]
            tail = self._connection.conflict(own, [name for name in names if name not in own])
            columns = ", ".join(f'"{name}"' for name in names)
            marks = ", ".join([f"({', '.join('?' * len(names))})"] * len(part))
            values = [row[name] for row in part for name in names]
            self.execute(f"INSERT INTO {table} ({columns}) VALUES {marks} {tail}", values)

    def reserve(self, runs: Sequence[str]) -> None:
        self.put("runs", ["run_uuid"], [{"run_uuid": run} for run in runs])

    def number(self, table: str, column: str, wish: int | None, taken: set[int]) -> int:
        # MLflow's servers may be making rows too: numbers that they might have been given already,
        # but that are not to be seen yet, are only taken as the server gives them to us
        largest = LARGEST.get(self.columns(table)[column], 2**31 - 1)
        if wish is None or wish > largest or wish in taken:
            return self._connection.allocate(table, column)
        if wish == 0:  # no server gives it
            return wish
        number = self._connection.allocate(table, column)
        while number < wish <= number + NEAR:
            number = self._connection.allocate(table, column)
        if abs(wish - number) > NEAR:
            self._connection.skip(table, column, wish)
            return wish
        return number

    def commit(self) -> None:
        self._connection.commit()


def rendered(query: str, values: Sequence[Any], place: Any) -> str:
    """A query with `place(value)` for each value, and for each of the list behind an `IN`."""
    waiting = iter(values)
    parts = []
    for index, part in enumerate(query.split(IN)):
        if index:
            listed = json.loads(next(waiting))
            parts.append(f"IN ({', '.join(map(place, listed)) or 'NULL'})")
        first, *others = part.split("?")
        parts.append(first)
        parts += (place(next(waiting)) + other for other in others)
    return "".join(parts)


def _where(
    runs: Sequence[str] | None, excerpt: Excerpt, columns: Collection[str]
) -> tuple[str, list[Any]]:
    """The end of a query for points; None means every run."""
    conditions: list[str] = []
    values: list[Any] = []
    keys = None if excerpt.keys is None else native_keys(excerpt.keys)
    for column, listed in (("run_uuid", runs), ('"key"', keys)):
        if listed is not None:
            conditions.append(f"{column} {IN}")
            values.append(json.dumps(list(listed)))
    for sign, edge in ((">=", excerpt.first), ("<=", excerpt.last)):
        if edge is not None and "step" in columns:
            conditions.append(f"step {sign} ?")
            values.append(edge)
    return f"WHERE {' AND '.join(conditions)}" if conditions else "", values


def _within_time(data: pa.RecordBatch) -> pa.RecordBatch:
    """The points with null for times that cannot be microseconds."""
    times = data.column("timestamp")
    good = pc.and_(pc.less_equal(times, LONGEST_MS), pc.greater_equal(times, -LONGEST_MS))
    columns = dict(zip(POINT, data.columns))
    columns["timestamp"] = pc.if_else(good, times, pa.scalar(None, times.type))
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(POINT))
