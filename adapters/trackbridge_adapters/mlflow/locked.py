"""MLflow's SQLite databases under SQLite's locks, through ADBC: targets, read and written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import adbc_driver_sqlite.dbapi as adbc
import pyarrow as pa
from adbc_driver_manager import Error as AdbcError

from trackbridge.adapter import Row
from trackbridge.errors import BridgeError, DuplicatePointsError, IntegrityError
from trackbridge.schema import BATCH_ROWS
from trackbridge_adapters.mlflow.session import BUSY_SECONDS, Rows, Transaction
from trackbridge_adapters.mlflow.sqlite import (
    SqliteSession,
    begin_writing,
    end_writing,
    translated,
)

ROWS_OPTION = "adbc.sqlite.query.batch_rows"
"""Rows per batch; the driver tells a column's type by the first batch."""

MANY = 1 << 20
LARGEST = 2**63 - 1

READING = (
    f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}",
    "PRAGMA cache_size = -65536",  # 64 MiB: look-ups by run go back and forth in the table
)
WRITING = (
    READING[0],
    "PRAGMA cache_size = -131072",  # 128 MiB: the indexes of metrics are written all over
    "PRAGMA case_sensitive_like = true",  # as MLflow sets it (store/db/utils.py, 3.17)
)


class LockedSession(SqliteSession):
    """One reading transaction; `uri` is what SQLite opens."""

    def __init__(
        self,
        path: Path,
        uri: str,
        settings: Sequence[str] = READING,
        begin: str = "BEGIN",
    ) -> None:
        self.path = path
        with self._errors():
            self._connection = adbc.connect(uri, autocommit=True)
        try:
            for setting in (*settings, begin):
                self.execute(setting)
            super().__init__(path)
        except BridgeError:
            self.close()
            raise

    def execute(self, query: str, values: Sequence[Any] = ()) -> None:
        with self._errors(), self._connection.cursor() as cursor:
            cursor.execute(query, list(values) or None)

    def fetch(self, query: str, values: Sequence[Any] = ()) -> Rows:
        with self._errors(), self._connection.cursor() as cursor:
            cursor.adbc_statement.set_options(**{ROWS_OPTION: str(MANY)})
            cursor.execute(query, list(values) or None)
            table = cursor.fetch_arrow_table()
        return list(zip(*(_values(column) for column in table.columns)))

    def batches(self, query: str, values: Sequence[Any]) -> Iterator[pa.RecordBatch]:
        with self._errors(), self._connection.cursor() as cursor:
            cursor.adbc_statement.set_options(**{ROWS_OPTION: str(BATCH_ROWS)})
            cursor.execute(query, list(values) or None)
            yield from cursor.fetch_record_batch()

    def close(self) -> None:
        """Ends the transaction; what was not committed is undone by SQLite."""
        self._connection.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (AdbcError, OSError) as error:
            reason = str(error).splitlines()[0]
            if "Type mismatch" in reason:
                raise TypeChangeError(reason) from error
            if "UNIQUE constraint failed: metrics." in reason:
                raise DuplicatePointsError(
                    f"{self.path}: a point occurs twice, and MLflow holds each one once"
                ) from error
            if "constraint failed" in reason:
                raise IntegrityError(f"{self.path}: refused by the database: {reason}") from error
            raise translated(self.path, reason) from error


class TypeChangeError(ValueError):
    """A column holds values of another type than in its first batch."""


class LockedTransaction(LockedSession, Transaction):
    """A transaction that holds SQLite's write lock."""

    def __init__(self, path: Path, wait: int | None = None) -> None:
        """`wait`: for how many seconds at most, if not for as long as SQLite is set to."""
        patience = [] if wait is None else [f"PRAGMA busy_timeout = {wait * 1000}"]
        self._is_writing = True
        begin_writing(path)
        try:
            super().__init__(path, str(path), [*WRITING, *patience], "BEGIN IMMEDIATE")
        except BaseException:
            self._end()
            raise

    def insert(self, table: str, rows: Sequence[Row]) -> None:
        if rows:
            names = [name for name in rows[0] if name in self.columns(table)]
            self.ingest(table, pa.table({n: [row[n] for row in rows] for n in names}))

    def ingest(self, table: str, data: pa.Table | pa.RecordBatch) -> None:
        with self._errors(), self._connection.cursor() as cursor:
            cursor.adbc_ingest(table, data, mode="append")

    def add(self, table: str, data: pa.Table) -> None:
        names = ", ".join(f'"{name}"' for name in data.column_names)
        marks = ", ".join("?" * data.num_columns)
        query = f"INSERT INTO {table} ({names}) VALUES ({marks}) ON CONFLICT DO NOTHING"
        with self._errors(), self._connection.cursor() as cursor:
            cursor.executemany(query, data)

    def put(self, table: str, key: Sequence[str], rows: Sequence[Row]) -> None:
        # MLflow declares foreign keys but does not have SQLite enforce them here
        there = self.columns(table)
        condition = " AND ".join(f'"{name}" = ?' for name in key if name in there)
        if len(key) == 1:
            self.delete(table, key[0], [row[key[0]] for row in rows])
        else:
            for row in rows:
                values = [row[name] for name in key if name in there]
                self.execute(f"DELETE FROM {table} WHERE {condition}", values)
        self.insert(table, rows)

    def number(self, table: str, column: str, wish: int | None, taken: set[int]) -> int:
        if wish is not None and wish <= LARGEST and wish not in taken:
            return wish
        return max(taken, default=0) + 1

    def commit(self) -> None:
        self.execute("COMMIT")

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._end()

    def _end(self) -> None:
        """Once, whoever closes: a failed beginning does it too."""
        if self._is_writing:
            self._is_writing = False
            end_writing(self.path)


def _values(column: pa.ChunkedArray) -> list[Any]:
    try:
        return column.to_pylist()  # type: ignore[no-any-return]
    except UnicodeDecodeError:
        raw = column.cast(pa.binary()).to_pylist()
        return [None if v is None else v.decode("utf-8", "surrogateescape") for v in raw]
