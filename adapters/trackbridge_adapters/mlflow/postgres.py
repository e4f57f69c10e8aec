"""PostgreSQL through ADBC: rows come and go by COPY, column by column."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from trackbridge.errors import BridgeError, ConfigError, IntegrityError, TransientError
from trackbridge.schema import BATCH_ROWS
from trackbridge_adapters.mlflow.server_session import APART, UniqueError, rendered
from trackbridge_adapters.mlflow.session import POINT, Rows

try:
    import adbc_driver_postgresql.dbapi as adbc
    from adbc_driver_manager import Error as AdbcError
except ImportError as error:
    raise ConfigError("PostgreSQL needs its driver: pip install 'trackbridge[postgres]'") from error

LOCK = 0x747261636B627267
"""Number of our advisory lock (the letters `trackbrg`)."""

SETTINGS = (
    "SET standard_conforming_strings = on",
    "SET client_encoding = 'UTF8'",
    "SET application_name = 'trackbridge'",
    "SET statement_timeout = 0",  # chunks may take longer than a site allows its applications
    "SET idle_in_transaction_session_timeout = 0",
    "SET row_security = off",  # rows that a policy hides are an error
)

BATCHES = {"adbc.postgresql.batch_size_hint_bytes": str(1 << 22)}
"""About as many rows as our batches have: the default, four times as much, comes late."""

TYPES = {
    "character varying": pa.string(),
    "text": pa.string(),
    "json": pa.string(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "double precision": pa.float64(),
    "boolean": pa.bool_(),
}
"""What COPY takes for a column of each type that MLflow uses (dbmodels/models.py, 3.17)."""

NEWER = (
    "CASE WHEN age(xmin) BETWEEN 0 AND age(?::xid) THEN NOT pg_visible_in_snapshot("
    "(?::int8 + age(?::xid) - age(xmin))::text::xid8, ?::pg_snapshot) ELSE false END"
)
"""Whether a row was written after a snapshot: none is ever altered, but written anew.

Given are the oldest transaction of the snapshot (as rows have it, whole, as rows have it), and
the snapshot.
"""

# SQLSTATE (postgresql.org/docs/current/errcodes-appendix.html)
UNIQUE = "23505"
PASSING = ("40", "08", "55P03", "57", "53300")
"""Deadlocks, lost connections, locks waited for too long, a server that stops or is full."""
USERS = {
    "28": "may not log in; check user and password (PGPASSWORD, ~/.pgpass)",
    "3D": "no such database; create it, or check the name",
    "42501": "lacks a permission; grant it, or take another user",
    "53100": "no space left on the server's disk; free some and call again",
    "25006": "only takes reads; name the primary server",
}


class PostgresConnection:
    """A connection whose transactions are begun and ended by hand."""

    # not out of information_schema, which hides what the user has no rights to
    tables = (
        "SELECT relname::text FROM pg_class"
        " WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'm')"
    )
    columns = (
        "SELECT relname::text, attname::text, format_type(atttypid, NULL) FROM pg_class c"
        " JOIN pg_attribute a ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped"
        " WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'm')"
    )
    defaults: Mapping[str, str] = {"step": "0::bigint", "is_nan": "false"}

    def __init__(self, name: str, uri: str) -> None:
        self._name = name
        with self._errors():
            self._connection = _first(uri).adbc_clone()
            self._connection.adbc_connection.set_autocommit(True)
        for setting in SETTINGS:
            self.execute(setting)

    def check_rights(self) -> None:
        """What may not be read is listed all the same, and an error when it is read."""

    def begin(self, *, writing: bool) -> None:
        self.execute("BEGIN" if writing else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def lock(self, wait: int) -> None:
        self.execute(f"SET lock_timeout = '{wait}s'")
        self.fetch(f"SELECT pg_advisory_lock({LOCK})::text", ())

    def making(self) -> AbstractContextManager[None]:
        return nullcontext()  # MLflow makes them in one transaction (store/db_migrations/env.py)

    def fetch(self, query: str, values: Sequence[Any]) -> Rows:
        with self._errors(), self._connection.cursor() as cursor:
            cursor.execute(rendered(query, values, literal))
            table = cursor.fetch_arrow_table()
        return list(zip(*(column.to_pylist() for column in table.columns)))

    def points(
        self, columns: Sequence[str], rest: str, values: Sequence[Any]
    ) -> Iterator[pa.RecordBatch]:
        # what a point costs, at the server and here, is for the most part its number of values
        key, run, value, timestamp, step, is_nan = columns
        series = f"{run} || chr({ord(APART)}) || {key}"
        number = f"CASE {is_nan} WHEN false THEN {value} WHEN true THEN 'NaN'::float8 END"
        query = f"SELECT {series}, {number}, {timestamp}, {step} FROM metrics {rest}"
        with self._errors(), self._connection.cursor() as cursor:
            cursor.adbc_statement.set_options(**BATCHES)
            cursor.execute(rendered(query, values, literal))
            for batch in cursor.fetch_record_batch():
                for start in range(0, batch.num_rows, BATCH_ROWS):
                    yield _taken_apart(batch.slice(start, BATCH_ROWS))

    def blocks(self) -> tuple[int, int]:
        ((version, blocks, rows),) = self.fetch(
            "SELECT current_setting('server_version_num')::int, pg_relation_size(oid) /"
            " current_setting('block_size')::int, reltuples::int8 FROM pg_class"
            " WHERE oid = 'metrics'::regclass",
            (),
        )
        return (blocks, rows) if version >= 140000 else (0, 0)  # the first with Tid Range Scan

    def state(self) -> str:
        # what was committed, and the table's file, another one after CLUSTER
        query = "SELECT pg_current_snapshot()::text, pg_relation_filenode('metrics')::int8"
        ((snapshot, file),) = self.fetch(query, ())
        return f"{snapshot}.{file}"

    def is_as_in(self, state: str, rest: str, values: Sequence[Any]) -> bool:
        snapshot, file = state.split(".")
        oldest = int(snapshot.split(":")[0])
        short = str(oldest % 2**32)  # as rows have it
        found = self.fetch(
            f"SELECT 1 FROM metrics {rest} AND {NEWER} LIMIT 1",
            [*values, short, str(oldest), short, snapshot],
        )
        return not found and file == self.state().split(".")[1]  # which is its file from now on

    def execute(self, query: str, values: Sequence[Any] = ()) -> None:
        with self._errors(), self._connection.cursor() as cursor:
            cursor.execute(rendered(query, values, literal))

    def ingest(self, table: str, data: pa.Table, types: Mapping[str, str]) -> None:
        columns = {n: data.column(n).cast(TYPES[types[n]]) for n in data.column_names}
        with self._errors(), self._connection.cursor() as cursor:
            cursor.adbc_ingest(table, pa.table(columns), mode="append")

    def conflict(self, key: Sequence[str], columns: Sequence[str]) -> str:
        names = ", ".join(f'"{name}"' for name in key)
        values = ", ".join(f'"{name}" = EXCLUDED."{name}"' for name in columns)
        return f"ON CONFLICT ({names}) DO " + (f"UPDATE SET {values}" if values else "NOTHING")

    def allocate(self, table: str, column: str) -> int:
        ((number,),) = self.fetch("SELECT nextval(?)", [self._sequence(table, column)])
        return int(number)

    def skip(self, table: str, column: str, number: int) -> None:
        sequence = self._sequence(table, column)
        query = f"SELECT setval(?, greatest(last_value, ?)) FROM {sequence}"
        self.fetch(query, [sequence, number])

    def _sequence(self, table: str, column: str) -> str:
        ((sequence,),) = self.fetch("SELECT pg_get_serial_sequence(?, ?)", [table, column])
        if sequence is None:
            raise ConfigError(
                f"{self._name}: {table}.{column} has no sequence, as MLflow's own tables do;"
                " give it back with ALTER SEQUENCE ... OWNED BY"
            )
        return str(sequence)

    def commit(self) -> None:
        self.execute("COMMIT")

    def close(self) -> None:
        """The server undoes what was not committed, and gives up the lock."""
        self._connection.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (AdbcError, OSError) as error:
            raise _translated(self._name, error) from error


def _taken_apart(data: pa.RecordBatch) -> pa.RecordBatch:
    """Points whose run and key are one text."""
    series, value, timestamp, step = data.columns
    names = series.dictionary_encode()
    parts = pc.split_pattern(names.dictionary, APART, max_splits=1)
    run, key = (_spread(pc.list_element(parts, n), names.indices) for n in (0, 1))
    columns = [key, run, value, timestamp, step, pc.is_nan(value)]
    return pa.RecordBatch.from_arrays(columns, names=list(POINT))


def _spread(texts: pa.Array, rows: pa.Array) -> pa.DictionaryArray:
    """Texts, each of them in the rows that name its place."""
    unique = texts.dictionary_encode()
    return pa.DictionaryArray.from_arrays(unique.indices.take(rows), unique.dictionary)


@lru_cache
def _first(uri: str) -> adbc.Connection:
    """A closed connection, which others are made from: a first one takes 80 ms to learn types."""
    connection = adbc.connect(uri, autocommit=True)
    connection.adbc_connection.close()
    return connection


def literal(value: Any) -> str:
    """A value as SQL writes it; with `standard_conforming_strings` only quotes are special."""
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, float):
        return f"'{value!r}'::float8"
    return str(value).upper() if isinstance(value, bool) else str(int(value))


def _translated(name: str, error: Exception) -> BridgeError:
    state = getattr(error, "sqlstate", None) or ""
    lines = str(error).splitlines() or [""]
    reason = re.sub(r"^[A-Z_]+: (\[libpq\] )?", "", lines[0])
    if state == UNIQUE:
        detail = next((line for line in lines if line.startswith("DETAIL:")), reason)
        return UniqueError(f"{name}: refused by the database: {detail}")
    for start, advice in USERS.items():
        if state.startswith(start) and state:
            return ConfigError(f"{name}: {advice} ({reason})")
    if state.startswith(PASSING):
        return TransientError(f"{name}: {reason}")
    if not state:
        return _unconnected(name, reason)
    return IntegrityError(f"{name}: refused by the database: {reason}")


def _unconnected(name: str, reason: str) -> BridgeError:
    """Errors without a state: libpq has reached no server, or none that answers."""
    text = reason.lower()
    if "does not exist" in text or "authentication" in text or "password" in text:
        return ConfigError(f"{name}: {reason.removeprefix('Failed to connect: ')}")
    if "could not translate host" in text or "invalid" in text:
        return ConfigError(f"{name}: {reason}; check the address")
    return TransientError(f"{name}: {reason}; is the server running, and reachable from here?")
