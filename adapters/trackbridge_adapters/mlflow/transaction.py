"""One writing transaction of an SQLite database: everything in it or nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import adbc_driver_sqlite.dbapi as adbc
import pyarrow as pa
from adbc_driver_manager import Error as AdbcError

from trackbridge.adapter import Row
from trackbridge.errors import DuplicatePointsError, IntegrityError
from trackbridge_adapters.mlflow.database import BUSY_SECONDS, translated

IN = "IN (SELECT value FROM json_each(?))"
"""Condition on a list that is passed as `json.dumps`."""

SETTINGS = (
    f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}",
    "PRAGMA cache_size = -131072",  # 128 MiB: the indexes of metrics are written all over
    "PRAGMA case_sensitive_like = true",  # as MLflow sets it (store/db/utils.py, 3.17)
)


class Transaction:
    """A connection that has taken the write lock; closing it without `commit` undoes all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._errors():
            self._connection = adbc.connect(str(path), autocommit=True)
        try:
            for setting in SETTINGS:
                self.execute(setting)
            self.execute("BEGIN IMMEDIATE")
        except BaseException:
            self._connection.close()
            raise

    def execute(self, query: str, values: Sequence[Any] = ()) -> None:
        with self._errors(), self._connection.cursor() as cursor:
            cursor.execute(query, list(values) or None)

    def fetch(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._errors(), self._connection.cursor() as cursor:
            cursor.execute(query, list(values) or None)
            return list(cursor.fetchall())

    def select(
        self, table: str, columns: Sequence[str], rest: str = "", values: Sequence[Any] = ()
    ) -> list[tuple[Any, ...]]:
        """As `Session.select`, but with what this transaction has written."""
        names = ", ".join(f'"{column}"' for column in columns)
        return self.fetch(f"SELECT {names} FROM {table} {rest}", values)

    def insert(self, table: str, rows: Sequence[Row]) -> None:
        """Add rows, which all have the same columns, to a table."""
        if rows:
            names = list(rows[0])
            self.ingest(table, pa.table({n: [row[n] for row in rows] for n in names}))

    def ingest(self, table: str, data: pa.Table | pa.RecordBatch) -> None:
        """Add columns of the same names to a table, in bulk."""
        with self._errors(), self._connection.cursor() as cursor:
            cursor.adbc_ingest(table, data, mode="append")

    def delete(self, table: str, column: str, values: Sequence[str], rest: str = "") -> None:
        """Remove the rows in which the column has one of the values."""
        self.execute(f"DELETE FROM {table} WHERE {column} {IN} {rest}", [json.dumps(list(values))])

    def commit(self) -> None:
        self.execute("COMMIT")

    def close(self) -> None:
        """Ends the transaction; what was not committed is undone by SQLite."""
        self._connection.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (AdbcError, OSError) as error:
            reason = str(error).splitlines()[0]
            if "UNIQUE constraint failed: metrics." in reason:
                raise DuplicatePointsError(
                    f"{self.path}: a point occurs twice, and MLflow holds each one once"
                ) from error
            if "constraint failed" in reason:
                raise IntegrityError(f"{self.path}: refused by the database: {reason}") from error
            raise translated(self.path, reason) from error
