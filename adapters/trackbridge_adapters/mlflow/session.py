"""What MLflow's databases have in common: open ones, with rows out of them and rows into them.

SQL is written once for all of them: `?` stands for a value, `IN` for a list, and names that are
words of SQL are in double quotes. A session puts it into what its own database understands.
Importing this module loads nothing but the standard library, so that listing stays fast.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from trackbridge.adapter import RunInfo
from trackbridge.errors import ConfigError, NotFoundError
from trackbridge.optional import Excerpt
from trackbridge_adapters.mlflow.entities import SYSTEM

if TYPE_CHECKING:
    import pyarrow as pa

    from trackbridge.adapter import Capabilities, Row

Rows = list[tuple[Any, ...]]

CORE_TABLES = frozenset({"experiments", "runs", "metrics", "params", "tags"})
"""Tables that every revision of MLflow's tracking schema has."""

BUSY_SECONDS = 120
"""How long another writer is waited for; MLflow itself waits 20 s (store/db/utils.py, 3.17)."""

UNFINISHED = "trackbridge_unfinished"
"""A table that is there while MLflow makes its own, on servers that keep what a killed one made."""

IN = "IN (SELECT value FROM json_each(?))"
"""Condition on a list that is passed as `json.dumps`."""

POINT = ("key", "run_uuid", "value", "timestamp", "step", "is_nan")
"""Columns of a point, in the order in which `Session.points` gives them."""


EVERY_POINT = Excerpt()

LONGEST_MS = (2**63 - 1) // 1000
"""Times further away from 1970 do not fit into microseconds."""


class Session:
    """A database in one state, with what its schema revision has. `name` is without secrets."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tables = frozenset(self.table_names())
        if UNFINISHED in self.tables:
            raise NotFoundError(f"{name}: a database whose tables have not all been made yet")
        if not self.tables >= CORE_TABLES:
            if not self.tables:
                raise NotFoundError(f"{name}: an empty database, without MLflow's tables")
            raise ConfigError(f"{name}: a database, but without MLflow's tables")

    def table_names(self) -> Sequence[str]:
        """The tables of the database."""
        raise NotImplementedError

    def columns(self, table: str) -> Mapping[str, str]:
        """The columns of a table in this revision, each with its type."""
        raise NotImplementedError

    def fetch(self, query: str, values: Sequence[Any] = ()) -> Rows:
        """All rows of a query. Bytes that are no UTF-8 become surrogates in its texts."""
        raise NotImplementedError

    def points(
        self, runs: Sequence[str], excerpt: Excerpt = EVERY_POINT
    ) -> Iterator[pa.RecordBatch]:
        """The points of some runs: batches of the run model's size with the columns `POINT`.

        All that are in the part are among them, and there may be others. What is no number where
        there has to be one is null.
        """
        raise NotImplementedError

    def counts(self, where: str = "", values: Sequence[Any] = ()) -> dict[str, int]:
        """How many points each run has that meets a condition; the index on runs covers it."""
        condition = f"WHERE run_uuid {where}" if where else ""
        query = f"SELECT run_uuid, count(*) FROM metrics {condition} GROUP BY run_uuid"
        return dict(self.fetch(query, values))

    def pieces(self, info: RunInfo, points: int) -> Sequence[str]:
        """See `Splitting.split`."""
        raise NotImplementedError

    def piece(self, run: str, piece: str) -> Iterator[pa.RecordBatch]:
        """The points in a piece of a run; as `points` gives them.

        None where some of them may have changed since the run was cut.
        """
        raise NotImplementedError

    def bad_points(self, runs: Sequence[str], *, sound: bool = False) -> Iterator[tuple[str, str]]:
        """Run id and a line for each kind of value that `points` gives as null or changed.

        `sound`: it is known that it gives none as null.
        """
        return iter(())

    def select(
        self, table: str, columns: Sequence[str], rest: str = "", values: Sequence[Any] = ()
    ) -> Rows:
        """Rows of a table; a column that this revision lacks is null, a table has no rows."""
        if table not in self.tables:
            return []
        return self.fetch(f"SELECT {self.named(table, columns)} FROM {table} {rest}", values)

    def named(self, table: str, columns: Sequence[str]) -> str:
        """The columns as a SELECT names them in this revision."""
        there = self.columns(table)
        return ", ".join(f'"{c}"' if c in there else f'NULL AS "{c}"' for c in columns)

    def has_every(self, runs: Sequence[str]) -> bool:
        """Whether these are all runs of the database."""
        return self.count("runs") == len(runs)

    def count(self, table: str) -> int:
        """How many rows a table has."""
        ((count,),) = self.fetch(f"SELECT count(*) FROM {table}")
        return int(count)

    def close(self) -> None:
        """Ends the transaction; what was not committed is undone."""
        raise NotImplementedError


class Transaction(Session):
    """One writing transaction: everything in it or nothing; closing without `commit` undoes it.

    There is one at a time, also from other processes: the others wait.
    """

    def execute(self, query: str, values: Sequence[Any] = ()) -> None:
        raise NotImplementedError

    def ingest(self, table: str, data: pa.Table | pa.RecordBatch) -> None:
        """Add columns of the same names to a table, in bulk."""
        raise NotImplementedError

    def add(self, table: str, data: pa.Table) -> None:
        """Add columns in bulk, but for the rows that are there; the columns are the table's key."""
        raise NotImplementedError

    def insert(self, table: str, rows: Sequence[Row]) -> None:
        """Add rows, which all have the same columns, to a table, as far as it has these."""
        raise NotImplementedError

    def put(self, table: str, key: Sequence[str], rows: Sequence[Row]) -> None:
        """Add rows, or give those of the same key their values; rows that refer to them stay."""
        raise NotImplementedError

    def reserve(self, runs: Sequence[str]) -> None:
        """Make that points may refer to runs whose rows are put later."""

    def delete(self, table: str, column: str, values: Sequence[str], rest: str = "") -> None:
        """Remove the rows in which the column has one of the values."""
        query = f'DELETE FROM {table} WHERE "{column}" {IN} {rest}'
        self.execute(query, [json.dumps(list(values))])

    def number(self, table: str, column: str, wish: int | None, taken: set[int]) -> int:
        """A number for a new row: the wish, if it is free and fits."""
        raise NotImplementedError

    def commit(self) -> None:
        raise NotImplementedError


class Store(Protocol):
    """A database that may not exist yet."""

    name: str
    """What messages call it."""
    address: str
    """Its URI, without secrets."""
    identity: str
    """The same text for every way to name it."""
    home: Path
    """The folder from which relative artifact locations are meant."""
    capabilities: Capabilities
    has_folder: bool
    """It is a file, and files that belong to no run lie in a folder beside it."""

    def exists(self) -> bool:
        """Whether MLflow's tables are there."""
        ...

    def create(self, root: str) -> None:
        """Have MLflow make its tables, with artifacts below `root`."""
        ...

    def own_root(self) -> Path:
        """The artifact root of a database that names none; `ConfigError` if there is none."""
        ...

    def new_root(self) -> Path:
        """The artifact root of a database that is to be made; the same."""
        ...

    def session(self) -> AbstractContextManager[Session]:
        """A consistent view; whatever was read within is void if leaving it raises."""
        ...

    def transaction(self, wait: int | None = None) -> Transaction:
        """`wait`: for how many seconds another writer is waited for at most."""
        ...


def native_keys(keys: Collection[str]) -> list[str] | None:
    """The keys that are shown as these ones; None where a condition might miss some of them."""
    if not all(key and key.isprintable() and "\\" not in key for key in keys):
        return None  # odd bytes are shown as \xNN, null as nothing
    return sorted({*keys, *(f"{SYSTEM}{key}" for key in keys)})


def fit_in_time(points: pa.RecordBatch) -> bool:
    """Whether all times of a batch can be microseconds."""
    import pyarrow.compute as pc

    edges = pc.min_max(points.column("timestamp")).as_py()
    return edges["max"] is None or (edges["max"] <= LONGEST_MS and edges["min"] >= -LONGEST_MS)
