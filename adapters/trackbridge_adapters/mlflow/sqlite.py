"""SQLite files as sessions: who writes to them in this process, and what their errors mean.

Importing this module loads nothing but the standard library, so that listing stays fast.
"""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackbridge.adapter import RunInfo
from trackbridge.errors import BridgeError, ConfigError, IntegrityError, TransientError
from trackbridge.optional import Excerpt
from trackbridge_adapters.mlflow.session import EVERY_POINT, Rows, Session

if TYPE_CHECKING:
    import pyarrow as pa

RUN_INDEX = "index_metrics_run_uuid"
"""There since revision bd07f7e963c5 (2021)."""


class SqliteSession(Session):
    """What sessions of SQLite have in common, however the file was opened."""

    state = ""
    """Another one for another state of the database; empty: not known."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._columns: dict[str, dict[str, str]] = {}
        super().__init__(str(path))

    def table_names(self) -> Sequence[str]:
        names = self.fetch("SELECT name FROM sqlite_master WHERE type = 'table'")
        return [name for (name,) in names]

    def columns(self, table: str) -> Mapping[str, str]:
        if table not in self._columns:
            rows = self.fetch(f"SELECT name, type FROM pragma_table_info('{table}')")
            self._columns[table] = dict(rows)
        return self._columns[table]

    def points(
        self, runs: Sequence[str], excerpt: Excerpt = EVERY_POINT
    ) -> Iterator[pa.RecordBatch]:
        from trackbridge_adapters.mlflow import sqlite_points

        return sqlite_points.points(self, runs, excerpt)

    def pieces(self, info: RunInfo, points: int) -> Sequence[str]:
        from trackbridge_adapters.mlflow import sqlite_points

        return sqlite_points.pieces(self, info, points)

    def piece(self, run: str, piece: str) -> Iterator[pa.RecordBatch]:
        from trackbridge_adapters.mlflow import sqlite_points

        return sqlite_points.piece(self, run, piece)

    def counts(self, where: str = "", values: Sequence[Any] = ()) -> dict[str, int]:
        from trackbridge_adapters.mlflow import sqlite_counts

        long = None if where else sqlite_counts.longest(self)
        if long is None:
            return super().counts(where, values)
        return sqlite_counts.beside(self, long)

    def bad_points(self, runs: Sequence[str], *, sound: bool = False) -> Iterator[tuple[str, str]]:
        from trackbridge_adapters.mlflow import sqlite_points

        if not sound:
            yield from sqlite_points.no_numbers(self, runs)
        yield from sqlite_points.garbled_keys(self, runs)

    def batches(self, query: str, values: Sequence[Any]) -> Iterator[pa.RecordBatch]:
        """The rows of a query in batches of the run model's size, as they come."""
        raise NotImplementedError

    def has_index(self, name: str) -> bool:
        query = "SELECT 1 FROM sqlite_master WHERE type = 'index' AND name = ?"
        return bool(self.fetch(query, [name]))


class FileSession(SqliteSession):
    """A database file that nobody writes to: opened as immutable, without locks.

    It is read with Python's own SQLite, in bulk with that of ADBC, which is columnar.
    """

    def __init__(self, file: Path, path: Path, state: str) -> None:
        self.state = state
        self._uri = f"{file.absolute().as_uri()}?mode=ro&immutable=1"
        with native_errors(path):
            self._connection = sqlite3.connect(self._uri, uri=True, check_same_thread=False)
        try:
            super().__init__(path)
        except BridgeError:
            self.close()
            raise

    def fetch(self, query: str, values: Sequence[Any] = ()) -> Rows:
        with native_errors(self.path):
            try:
                return self._connection.execute(query, values).fetchall()
            except sqlite3.OperationalError as error:
                if "decode" not in str(error):
                    raise
            self._connection.text_factory = _text  # slower, so only where it is needed
            return self._connection.execute(query, values).fetchall()

    def batches(self, query: str, values: Sequence[Any]) -> Iterator[pa.RecordBatch]:
        from trackbridge_adapters.mlflow.locked import LockedSession

        session = LockedSession(self.path, self._uri)
        try:
            yield from session.batches(query, values)
        finally:
            session.close()

    def close(self) -> None:
        self._connection.close()


_written: Counter[str] = Counter()


def begin_writing(path: Path) -> None:
    """This process holds the write lock of a database from here on.

    POSIX drops a process's locks on a file as soon as it closes the file anywhere (sqlite.org,
    "How to corrupt", 2.2). So until `end_writing` nothing here opens the file but ADBC's SQLite,
    which knows of the lock because it holds it.
    """
    _written[os.path.realpath(path)] += 1


def end_writing(path: Path) -> None:
    _written[os.path.realpath(path)] -= 1


def is_written(path: Path) -> bool:
    """Whether this process holds the write lock of a database."""
    return _written[os.path.realpath(path)] > 0


@contextmanager
def native_errors(path: Path) -> Iterator[None]:
    """Turns errors of Python's SQLite into one clear line."""
    try:
        yield
    except sqlite3.Error as error:
        raise translated(path, str(error)) from error


def translated(path: Path, reason: str) -> BridgeError:
    """The project's error for a message of SQLite (texts from sqlite3.c, `sqlite3ErrStr`)."""
    text = reason.lower()
    if "locked" in text or "busy" in text:
        return TransientError(f"{path}: locked by another program for too long")
    if "full" in text:
        return ConfigError(f"{path}: no space left on the disk; free some and call again")
    if "readonly" in text or "read-only" in text:
        return ConfigError(f"{path}: not writable; change its permissions or take another target")
    if "unable to open" in text:
        return ConfigError(f"{path}: cannot be opened; check the folder and its permissions")
    if "not a database" in text:
        return ConfigError(f"{path}: not an SQLite database")
    return IntegrityError(
        f"{path}: damaged database ({reason}); restore it from a copy,"
        f" or save what can be saved: sqlite3 {path.name} .recover | sqlite3 saved.db"
    )


def _text(raw: bytes) -> str:
    """Text as it is; `entities.text` finds the surrogates."""
    return raw.decode("utf-8", "surrogateescape")
