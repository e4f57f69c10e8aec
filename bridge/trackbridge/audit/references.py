"""What records of an archive refer to and do not have, and tables that are not as they should be.

Only what is sound is read: columns that name things, of each Parquet file once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trackbridge.audit.seal import Archive
from trackbridge.audit.verify import Problem
from trackbridge.errors import BridgeError
from trackbridge.schema import ITEM_TABLES

LABELS = ("project", "run_id")
FILE = (*LABELS, "owner", "path")


class Gap(NamedTuple):
    """Things of one kind that are referred to and not there."""

    what: str
    number: int
    example: str

    def __str__(self) -> str:
        return f"{self.number} {self.what}, such as {self.example}"


class References:
    """The records of an archive, by the columns that name something."""

    def __init__(self, archive: Archive, sound: Collection[str]) -> None:
        """`sound` are the paths of files that are as they were sealed."""
        self._archive = archive
        self.problems: list[Problem] = []
        """Tables that are not as they should be; complete after `gaps`."""
        self._files: dict[str, list[str]] = {}
        for path in archive.payload():
            table = path.split("/")[1] if path.endswith(".parquet") else ""
            if path in sound and table in archive.tables and self._fits(table, path):
                self._files.setdefault(table, []).append(path)

    def gaps(self) -> Iterator[Gap]:
        """Everything that is referred to and not there."""
        runs = self._names("runs", *LABELS)
        labels = [t for t in sorted(self._files) if t not in (*ITEM_TABLES, "runs", "contents")]
        for table in labels:
            if set(LABELS) <= set(self._archive.tables[table].names):
                yield from _gap(f"runs of rows of {table}", self._names(table, *LABELS), runs)
        parents = self._names("runs", "project", "parent_run_id")
        yield from _gap("parents of runs", parents, runs)
        files = self._names("files", *FILE, where=pc.field("reference").is_null())
        yield from _gap("files without bytes", files, self._names("contents", *FILE))
        owned = self._names("files", *LABELS, "owner", where=pc.field("owner") != "")
        yield from _gap("artifacts of files", owned, self._artifacts())
        items = self._names("item_files", "project", "kind", "item_id", "path")
        names = pc.binary_join_element_wise(items["kind"], items["item_id"], ":")
        items = items.select(["project", "path"]).append_column("owner", names)
        kept = self._names("contents", "project", "path", "owner")
        yield from _gap("files of traces and the like without bytes", items, kept)
        shown = self._names("series", *LABELS, "path")
        yield from _gap("files of series", shown, self._names("files", *LABELS, "path"))
        versions = self._names("model_versions", "run_id")
        yield from _gap("runs of model versions", versions, self._names("runs", "run_id"))
        for table, field in (("spans", "trace_id"), ("assessments", "trace_id")):
            theirs = self._names(table, "project", field)
            yield from _gap(f"traces of {table}", theirs, self._names("traces", "project", field))

    def _fits(self, table: str, path: str) -> bool:
        """Whether a file has the columns of its table; what is wrong with it is kept."""
        try:
            with self._archive.folder.fetch(path) as local:
                found = pq.read_schema(local)
        except (BridgeError, pa.ArrowException, OSError) as error:
            self._unreadable(path, error)
            return False
        if not found.equals(self._archive.tables[table]):
            self.problems.append(Problem(path, f"its columns are not those of the table {table}"))
            return False
        return True

    def _unreadable(self, path: str, error: Exception) -> None:
        why = " ".join(str(error).split())
        self.problems.append(Problem(path, f"is no Parquet file that can be read: {why}"))

    def _artifacts(self) -> pa.Table:
        found = self._names("artifacts", *LABELS, "collection", "version")
        owner = pc.binary_join_element_wise(found["collection"], found["version"], ":")
        return found.select(LABELS).append_column("owner", owner)

    def _names(self, table: str, *columns: str, where: pc.Expression | None = None) -> pa.Table:
        """The different values of these columns together; rows without one of them are left out."""
        found = []
        there = pc.scalar(True) if where is None else where
        for column in columns:
            there = there & pc.field(column).is_valid()
        for path in self._files.get(table, ()):
            try:
                with self._archive.folder.fetch(path) as local:
                    rows = pq.read_table(local, columns=list(columns), filters=there)
            except (BridgeError, pa.ArrowException, OSError) as error:
                self._unreadable(path, error)
                continue
            texts = pa.schema([(column, pa.string()) for column in columns])
            found.append(rows.cast(texts).group_by(list(columns)).aggregate([]))
        empty = pa.schema([(column, pa.string()) for column in columns]).empty_table()
        return pa.concat_tables([empty, *found]).group_by(list(columns)).aggregate([])


def _gap(what: str, named: pa.Table, there: pa.Table) -> Iterator[Gap]:
    """What is named and not there, by the same columns in the same order."""
    keys = there.column_names
    missing = named.rename_columns(keys).join(there, keys, join_type="left anti")
    if missing.num_rows:
        first = min(zip(*(missing[key].to_pylist() for key in keys)))
        yield Gap(what, missing.num_rows, "/".join(part for part in first if part))
