"""MySQL and MariaDB through SQLAlchemy Core: rows in bulk, read as they come."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trackbridge.errors import BridgeError, ConfigError, IntegrityError, TransientError
from trackbridge.schema import BATCH_ROWS
from trackbridge_adapters.mlflow.server_session import APART, UniqueError, rendered
from trackbridge_adapters.mlflow.session import POINT, UNFINISHED, Rows

try:
    import sqlalchemy
    from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
except ImportError as error:
    raise ConfigError("MySQL needs its driver: pip install 'trackbridge[mysql]'") from error

STATEMENT_BYTES = 1 << 19
"""Length of an INSERT: servers may be set to take no more than a megabyte."""

STREAMED = {"stream_results": True, "max_row_buffer": BATCH_ROWS}
AS_IT_IS = {"no_parameters": True}
"""The driver looks for no marks of its own in the query."""

LOCK = "concat('trackbridge ', md5(database()))"
"""Name of our lock: one has at most 64 characters, as the name of a database may have alone."""

SETTINGS = (
    # names in double quotes; an experiment may have the id 0
    # without strictness, what does not fit would be cut without a word
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,ANSI_QUOTES,NO_AUTO_VALUE_ON_ZERO'",
    "SET NAMES utf8mb4",
)
TYPES = (pa.string(), pa.string(), pa.float64(), pa.int64(), pa.int64(), pa.int8())

# numbers of errors (dev.mysql.com/doc/mysql-errors, mariadb.com/kb/en/mariadb-error-codes)
UNIQUE = 1062
DENIED = 1142
PASSING = frozenset({1205, 1213, 1040, 1053, 1927, 2002, 2003, 2006, 2013, 2055, 4031})
"""Deadlocks, locks waited for too long, a server that is full, stops, or was lost."""
UNKNOWN_HOST = 2005
NARROW = "cannot hold every character; ALTER DATABASE ... CHARACTER SET utf8mb4"
USERS = {
    1044: "lacks a permission for this database; grant it, or take another user",
    1045: "may not log in; check user and password",
    1049: "no such database; create it, or check the name",
    DENIED: "lacks a permission; grant it, or take another user",
    1021: "no space left on the server's disk; free some and call again",
    1290: "only takes reads; name the primary server",
    1366: NARROW,
    1267: NARROW,  # seen where a name is compared that the column could not hold
    1153: "takes no packets of this size; raise max_allowed_packet",
}

MADE_WITH_ROWS = frozenset({"alembic_version", "experiments", "workspaces"})
"""Tables that MLflow does not make empty."""

NO_TABLE = "trackbridge_has_no_table"


class DeniedError(ConfigError):
    """The user may not do this to a table, or must not even know whether it is there."""


class MysqlConnection:
    """A connection whose transactions are begun and ended by hand."""

    tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = database()"
    columns = (
        "SELECT table_name, column_name, data_type FROM information_schema.columns"
        " WHERE table_schema = database()"
    )
    defaults: Mapping[str, str] = {"step": "0", "is_nan": "0"}

    def __init__(self, name: str, uri: str) -> None:
        self._name = name
        try:
            self._engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool)
        except (ArgumentError, ValueError) as error:
            raise ConfigError(f"{name}: {error}; check the address") from error
        except (NoSuchModuleError, ImportError) as error:
            raise ConfigError(f"{name}: {error}; pip install 'trackbridge[mysql]'") from error
        autocommit = {"isolation_level": "AUTOCOMMIT"}
        try:
            with self._errors():
                self._connection = self._engine.connect().execution_options(**autocommit)
        except TypeError as error:  # PyMySQL does not know an option
            raise ConfigError(f"{name}: {error}; check the address") from error
        for setting in SETTINGS:
            self.execute(setting)

    def check_rights(self) -> None:
        # information_schema hides what the user has no rights to; who may read a whole database
        # is told of a table that it is not there, others that they may not read it
        try:
            self.fetch(f"SELECT 1 FROM {NO_TABLE}", ())
        except DeniedError as error:
            raise ConfigError(
                f"{self._name}: its user may read some tables only, and cannot know of others;"
                " GRANT SELECT ON the whole database"
            ) from error
        except IntegrityError:  # it is not there
            return

    def begin(self, *, writing: bool) -> None:
        if writing:
            self.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
            self.execute("START TRANSACTION")
        else:
            self.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            self.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")

    def lock(self, wait: int) -> None:
        self.execute(f"SET SESSION innodb_lock_wait_timeout = {max(wait, 1)}")
        ((has,),) = self.fetch(f"SELECT get_lock({LOCK}, {wait})", ())
        if not has:
            raise TransientError(f"{self._name}: locked by another Trackbridge for too long")

    @contextmanager
    def making(self) -> Iterator[None]:
        """MySQL commits every table at once, so one of ours says that they are not all there.

        Whoever made them has ended, for we hold the lock, and MLflow starts no server on them;
        were there rows all the same, they would be somebody's.
        """
        names = [name for (name,) in self.fetch(self.tables, ())]
        if UNFINISHED in names:
            for name in set(names) - MADE_WITH_ROWS:
                if self.fetch(f'SELECT 1 FROM "{name}" LIMIT 1', ()):
                    raise ConfigError(
                        f"{self._name}: its tables were left half-made, and {name} has rows; name"
                        f" an empty database, or see to them and DROP TABLE {UNFINISHED}"
                    )
            self.execute("SET SESSION foreign_key_checks = 0")
            for name in names:
                self.execute(f'DROP TABLE "{name}"')
            self.execute("SET SESSION foreign_key_checks = 1")
        self.execute(f"CREATE TABLE {UNFINISHED} (nothing INTEGER)")
        yield
        self.execute(f"DROP TABLE {UNFINISHED}")

    def fetch(self, query: str, values: Sequence[Any]) -> Rows:
        with self._errors():
            return [tuple(row) for row in self._connection.exec_driver_sql(*_bound(query, values))]

    def points(
        self, columns: Sequence[str], rest: str, values: Sequence[Any]
    ) -> Iterator[pa.RecordBatch]:
        # one text a row: the driver takes its time over each value
        joined = f", char({ord(APART)} using utf8mb4), ".join(columns)
        query = f"SELECT concat({joined}) FROM metrics {rest}"
        with self._errors():
            bound = _bound(query, values)
            with self._connection.exec_driver_sql(*bound, execution_options=STREAMED) as result:
                for texts in result.scalars().partitions(BATCH_ROWS):
                    yield _taken_apart(texts)

    def blocks(self) -> tuple[int, int]:
        return 0, 0

    def state(self) -> str:
        return ""

    def is_as_in(self, state: str, rest: str, values: Sequence[Any]) -> bool:
        return True

    def execute(self, query: str, values: Sequence[Any] = ()) -> None:
        with self._errors():
            self._connection.exec_driver_sql(*_bound(query, values)).close()

    def ingest(self, table: str, data: pa.Table, types: Mapping[str, str]) -> None:
        names = ", ".join(f'"{name}"' for name in data.column_names)
        with self._errors():
            for values in _statements(data):
                query = f"INSERT INTO {table} ({names}) VALUES {values}"
                self._connection.exec_driver_sql(query, execution_options=AS_IT_IS)

    def conflict(self, key: Sequence[str], columns: Sequence[str]) -> str:
        values = ", ".join(f'"{name}" = VALUES("{name}")' for name in columns or key)
        return f"ON DUPLICATE KEY UPDATE {values}"

    def allocate(self, table: str, column: str) -> int:
        self.execute(f"INSERT INTO {table} (name) VALUES (?)", [uuid.uuid4().hex])
        ((number,),) = self.fetch("SELECT last_insert_id()", ())
        self.execute(f'DELETE FROM {table} WHERE "{column}" = ?', [number])
        return int(number)

    def skip(self, table: str, column: str, number: int) -> None:
        """The server learns it from the row."""

    def commit(self) -> None:
        self.execute("COMMIT")

    def close(self) -> None:
        """The server undoes what was not committed, and gives up the lock."""
        self._connection.invalidate()
        self._connection.close()
        self._engine.dispose()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, OSError) as error:
            raise _translated(self._name, error) from error


def _taken_apart(texts: Sequence[str]) -> pa.RecordBatch:
    """Rows of points, each of them a text."""
    parts = pc.split_pattern(pa.array([APART.join(texts)], pa.large_string()), APART).flatten()
    width = len(TYPES)
    if len(parts) != width * len(texts):
        raise IntegrityError(f"metrics: a key with the control character {APART!r} cannot be read")
    first = np.arange(0, len(parts), width)
    columns = [parts.take(pa.array(first + n)).cast(kind) for n, kind in enumerate(TYPES)]
    return pa.RecordBatch.from_arrays(columns, names=list(POINT))


def _statements(data: pa.Table) -> Iterator[str]:
    """The rows as SQL writes them, in pieces that any server takes.

    Column by column: the driver's own way, value by value, takes as long as the server.
    """
    columns = [_literals(column).combine_chunks() for column in data.columns]
    rows = pc.binary_join_element_wise(*columns, ", ")
    sizes = np.cumsum(pc.binary_length(rows).to_numpy())
    start = 0
    while start < len(rows):
        done = sizes[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(sizes, done + STATEMENT_BYTES)))
        yield "(" + "), (".join(rows[start:end].to_pylist()) + ")"
        start = end


def _literals(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    texts = column.cast(pa.string())
    if pa.types.is_string(kind):
        for sign, escaped in (("\\", "\\\\"), ("'", "''")):
            texts = pc.replace_substring(texts, sign, escaped)
        texts = pc.binary_join_element_wise("'", texts, "'", "")
    return pc.fill_null(texts, "NULL")


def _bound(query: str, values: Sequence[Any]) -> tuple[str, tuple[Any, ...]]:
    """A query with the driver's marks, and the values in their order."""
    given: list[Any] = []

    def place(value: Any) -> str:
        given.append(value)
        return "%s"

    text = rendered(query.replace("%", "%%"), values, place)
    return (text, tuple(given)) if given else (text.replace("%%", "%"), ())


def _translated(name: str, error: Exception) -> BridgeError:
    original = getattr(error, "orig", None) or error
    number = original.args[0] if original.args and isinstance(original.args[0], int) else 0
    reason = str(original.args[-1] if original.args else original).splitlines()[0]
    if number == UNIQUE:
        return UniqueError(f"{name}: refused by the database: {reason}")
    if number == UNKNOWN_HOST or _is_unknown(getattr(original, "original_exception", None)):
        return ConfigError(f"{name}: {reason}; check the address")
    if number in USERS:
        kind = DeniedError if number == DENIED else ConfigError
        return kind(f"{name}: {USERS[number]} ({reason})")
    if number in PASSING or getattr(error, "connection_invalidated", False):
        return TransientError(f"{name}: {reason}")
    return IntegrityError(f"{name}: refused by the database: {reason}")


def _is_unknown(error: object) -> bool:
    """Whether no host has the name that was asked for; PyMySQL tells of it as of one that is down.

    A failure that may pass (no name server answers) says nothing of the name.
    """
    return isinstance(error, socket.gaierror) and error.errno != socket.EAI_AGAIN
