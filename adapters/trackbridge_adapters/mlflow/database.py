"""MLflow's SQLite databases: opened without altering them, and which tables and columns are there.

Importing this module loads nothing but the standard library, so that listing stays fast.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from trackbridge.errors import (
    BridgeError,
    ConfigError,
    IntegrityError,
    NotFoundError,
    TransientError,
)

MAGIC = b"SQLite format 3\0"
"""First 16 bytes of every SQLite 3 file (sqlite.org/fileformat2.html)."""

CORE_TABLES = frozenset({"experiments", "runs", "metrics", "params", "tags"})
"""Tables that every revision of MLflow's tracking schema has."""

ATTEMPTS = 5
"""How often a copy of a database is begun anew because somebody wrote to it meanwhile."""

BUSY_SECONDS = 120
"""How long another writer is waited for; MLflow itself waits 20 s (store/db/utils.py, 3.17)."""


class Stamp(NamedTuple):
    """What changes when a database is written to, by file: size, mtime and change counter."""

    main: tuple[int, int, bytes]
    others: tuple[tuple[str, int, int], ...]


class Database:
    """One SQLite file, opened anew for each `session`.

    A source (`owned` false) is never altered: a quiet file is opened as immutable, one with a
    write-ahead log or a rollback journal beside it is copied, and a change under a session's
    feet is a `TransientError`. A target (`owned`) is opened with SQLite's ordinary locks.
    """

    def __init__(self, path: Path, *, owned: bool = False) -> None:
        self.path = path
        self._owned = owned
        self._restless = False
        self._copied: Stamp | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def exists(self) -> bool:
        return self.path.is_file()

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A consistent view; whatever was read within is void if leaving it raises."""
        check_header(self.path)
        before = self._stamp()
        with native_errors(self.path):
            uri, watched = self._uri(before)
            connection = sqlite3.connect(
                uri, uri=True, timeout=BUSY_SECONDS, check_same_thread=False
            )
        try:
            with native_errors(self.path):
                connection.execute("BEGIN")
                session = Session(uri, connection, self.path)
            yield session
        finally:
            connection.close()
        if watched and self._stamp() != before:
            self._restless = True
            raise TransientError(f"{self.path}: was written to while it was read; trying again")

    def _uri(self, stamp: Stamp) -> tuple[str, bool]:
        """Address of something to read, and whether it has to be watched for changes."""
        if self._owned:
            return f"{self.path.absolute().as_uri()}?mode=ro", True
        if not stamp.others and not self._restless:
            return f"{self.path.absolute().as_uri()}?mode=ro&immutable=1", True
        if self._copied != stamp or self._folder is None:
            self._copy()
        assert self._folder is not None
        copy = Path(self._folder.name, "copy.db")
        return f"{copy.as_uri()}?mode=ro&immutable=1", False

    def _copy(self) -> None:
        """Copies file and journals to a temporary folder, where SQLite may put them together."""
        for _ in range(ATTEMPTS):
            stamp = self._stamp()
            folder = tempfile.TemporaryDirectory(prefix="trackbridge-")
            copy = Path(folder.name, "copy.db")
            shutil.copyfile(self.path, copy)
            for suffix, _, _ in stamp.others:
                beside = Path(f"{self.path}{suffix}")
                if beside.exists():
                    shutil.copyfile(beside, f"{copy}{suffix}")
            if self._stamp() == stamp:
                merge = sqlite3.connect(copy)
                merge.execute("PRAGMA journal_mode=DELETE").fetchall()
                merge.close()
                self._copied, self._folder = stamp, folder
                return
        raise TransientError(f"{self.path}: is being written to all the time; trying again")

    def _stamp(self) -> Stamp:
        others = []
        for suffix in ("-wal", "-journal"):
            beside = Path(f"{self.path}{suffix}")
            try:
                status = beside.stat()
            except FileNotFoundError:
                continue
            if status.st_size:
                others.append((suffix, status.st_size, status.st_mtime_ns))
        with self.path.open("rb") as file:
            counter = file.read(28)[24:]
        status = self.path.stat()
        return Stamp((status.st_size, status.st_mtime_ns, counter), tuple(others))


class Session:
    """An open database with what its schema revision has.

    `uri` opens the same state with another SQLite client.
    """

    def __init__(self, uri: str, connection: sqlite3.Connection, path: Path) -> None:
        self.uri = uri
        self.connection = connection
        self.path = path
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        self.tables = frozenset(name for (name,) in names.fetchall())
        self._known: dict[str, frozenset[str]] = {}
        if not self.tables >= CORE_TABLES:
            raise ConfigError(f"{path}: an SQLite database, but without MLflow's tables")

    def has_index(self, name: str) -> bool:
        query = "SELECT 1 FROM sqlite_master WHERE type = 'index' AND name = ?"
        return self.connection.execute(query, (name,)).fetchone() is not None

    def select(
        self, table: str, columns: Sequence[str], rest: str = "", values: Sequence[Any] = ()
    ) -> list[tuple[Any, ...]]:
        """Rows of a table; a column that this revision lacks is null, a table has no rows."""
        if table not in self.tables:
            return []
        query = f"SELECT {self.named(table, columns)} FROM {table} {rest}"
        with native_errors(self.path):
            try:
                return self.connection.execute(query, values).fetchall()
            except sqlite3.OperationalError as error:
                if "decode" not in str(error):
                    raise
            self.connection.text_factory = _text
            return self.connection.execute(query, values).fetchall()

    def cursor(self, query: str, values: Sequence[Any]) -> sqlite3.Cursor:
        """The rows of any query one by one, with whatever text is in them."""
        self.connection.text_factory = _text
        return self.connection.execute(query, values)

    def named(self, table: str, columns: Sequence[str]) -> str:
        """The columns as a SELECT names them in this revision."""
        there = self.columns(table)
        return ", ".join(f'"{c}"' if c in there else f'NULL AS "{c}"' for c in columns)

    def columns(self, table: str) -> frozenset[str]:
        """The columns of a table in this revision."""
        if table not in self._known:
            rows = self.connection.execute(f'PRAGMA table_info("{table}")')
            self._known[table] = frozenset(row[1] for row in rows)
        return self._known[table]


def check_header(path: Path) -> None:
    """Refuse what is no SQLite file, in words that say so."""
    try:
        with path.open("rb") as file:
            head = file.read(len(MAGIC))
    except FileNotFoundError:
        raise NotFoundError(f"{path}: no such database") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    if head != MAGIC:
        raise ConfigError(f"{path}: not an SQLite database")


@contextmanager
def native_errors(path: Path) -> Iterator[None]:
    """Turns errors of SQLite, through whatever client, into one clear line."""
    try:
        yield
    except sqlite3.Error as error:
        raise translated(path, str(error)) from error


def translated(path: Path, reason: str) -> BridgeError:
    """The project's error for a message of SQLite (texts from sqlite3.c, `sqlite3ErrStr`)."""
    text = reason.lower()
    if "locked" in text or "busy" in text:
        return TransientError(f"{path}: locked by another program for {BUSY_SECONDS} s")
    if "full" in text:
        return ConfigError(f"{path}: no space left on the disk; free some and call again")
    if "readonly" in text or "read-only" in text:
        return ConfigError(f"{path}: not writable; change its permissions or take another target")
    if "unable to open" in text:
        return ConfigError(f"{path}: cannot be opened; check the folder and its permissions")
    return IntegrityError(f"{path}: damaged database ({reason})")


def _text(raw: bytes) -> str:
    """Text as it is; bytes that are no UTF-8 become surrogates, which `entities.text` finds."""
    return raw.decode("utf-8", "surrogateescape")


def is_mlflow(path: Path) -> bool:
    """Whether a file is an SQLite database with MLflow's tables; alters nothing."""
    try:
        with Database(path).session():
            return True
    except BridgeError:
        return False
