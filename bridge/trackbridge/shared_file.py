"""The file of a store that keeps shared rows which it does not show, and whose rows are whose."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trackbridge.adapter import SHARED_FILE, STORE, FileRef, Reader, Row, Sink
from trackbridge.digest import row_digest
from trackbridge.errors import IntegrityError, NotFoundError
from trackbridge.schema import NAMED_BY, SHARED, TABLES
from trackbridge.sidecar import plain_row, typed_row

FORMAT = 1

EDITED = {
    "projects": ("notes", "tags"),
    "models": ("description", "aliases", "tags"),
    "model_versions": ("description", "stage", "tags"),
}
"""What users of a target change of its rows; the rest is the store's."""

Name = tuple[Any, ...]
States = dict[str, dict[Name, str | None]]
"""Digests of what users may change of rows, by table and name."""


def name_of(table: str, row: Row) -> Name:
    return tuple(row[column] for column in NAMED_BY[table])


def state_of(table: str, row: Row) -> str:
    """Digest of what users may change of a row."""
    return row_digest(table, {name: row.get(name) for name in EDITED.get(table, ())})


def _by_table() -> dict[str, dict[Name, Any]]:
    return {table: {} for table in SHARED}


def _names_by_table() -> dict[str, set[Name]]:
    return {table: set() for table in SHARED}


@dataclass
class File:
    """The file of the store: rows that it does not show, and the names that we have written.

    A row is kept with the digest of the native row that stands in its place. `written` has what
    users may change of a row, as it was when we wrote it, if that is known. `begun` are names of
    rows of which a process was about to write, and may have written, a new state. `renamed` are
    projects that were given another name on the way -> the one at their birth. `homes` are names of
    projects in the store -> those that rows have, where they differ: not all have runs to say so.
    """

    kept: dict[str, dict[Name, tuple[Row, str | None]]] = field(default_factory=_by_table)
    written: dict[str, dict[Name, str | None]] = field(default_factory=_by_table)
    begun: dict[str, set[Name]] = field(default_factory=_names_by_table)
    renamed: dict[str, str] = field(default_factory=dict)
    homes: dict[str, str] = field(default_factory=dict)

    def call(self, homes: Mapping[Name, str], renamed: Mapping[str, str]) -> None:
        """Take down what projects are called; of several in one place, the first is shown."""
        self.renamed |= renamed
        for (name,), native in homes.items():
            if name != native != homes.get((native,)):
                self.homes.setdefault(native, name)

    def unseen(self, homes: Mapping[Name, str]) -> set[Name]:
        """Names of projects in whose place another one is shown."""
        return {name for name, native in homes.items() if (self.homes.get(native, native),) != name}

    def ours(self, table: str) -> set[Name]:
        """Names of rows that are ours if they are there."""
        return self.written[table].keys() | self.begun[table]

    def gone(self, table: str, there: Iterable[Name]) -> set[Name]:
        """Names of rows that were there once and are not any more."""
        return self.written[table].keys() - there - self.begun[table]

    def has_begun(self, tables: Iterable[str]) -> bool:
        return any(self.begun[table] for table in tables)

    def begin(self, states: States) -> None:
        for table, named in states.items():
            self.begun[table] |= named.keys()

    def end(self, states: States) -> None:
        """What was begun of these tables is written; states of what others began are unknown."""
        for table, named in states.items():
            self.written[table] |= {name: named.get(name) for name in self.begun[table]}
            self.begun[table].clear()

    def put(self, sink: Sink) -> None:
        sink.put_file(FileRef(STORE, "", SHARED_FILE), io.BytesIO(self.dumps()))

    def replaced(
        self, table: str, there: Mapping[Name, Row], new: Iterable[Row]
    ) -> tuple[list[Name], list[Name]]:
        """Rows that get other values: edited in the target, and as we wrote them.

        Of the latter the source has changed, or it is another one.
        """
        found: tuple[list[Name], list[Name]] = [], []
        for row in new:
            name = name_of(table, row)
            now = state_of(table, there[name]) if name in there else None
            if now not in (None, state_of(table, row)):
                known = None if name in self.begun[table] else self.written[table].get(name)
                found[known in (None, now)].append(name)
        return found

    def __bool__(self) -> bool:
        return any(
            (
                *(*self.kept.values(), *self.written.values(), *self.begun.values()),
                *(self.renamed, self.homes),
            )
        )

    def keep(self, table: str, named: Mapping[Name, Row], natives: Mapping[Name, str]) -> None:
        """Keep the rows that are not what the store shows under their names."""
        for name, row in named.items():
            self.kept[table].pop(name, None)
            if natives.get(name) != row_digest(table, row):
                self.kept[table][name] = (row, natives.get(name))

    def dumps(self) -> bytes:
        rows = {
            table: [[plain_row(row), instead_of] for _, (row, instead_of) in sorted(named.items())]
            for table, named in self.kept.items()
            if named
        }
        written = {
            table: [[*name, state] for name, state in sorted(named.items())]
            for table, named in self.written.items()
            if named
        }
        document = {"format": FORMAT, "rows": rows, "written": written}
        begun = {table: sorted(names) for table, names in self.begun.items() if names}
        if begun:
            document["begun"] = begun
        if self.renamed:
            document["renamed"] = self.renamed
        if self.homes:
            document["homes"] = self.homes
        return json.dumps(document, sort_keys=True).encode()


def read_file(reader: Reader) -> File:
    file = File()
    where = f"{reader.address}: {SHARED_FILE}"
    try:
        with reader.open_file(FileRef(STORE, "", SHARED_FILE)) as data:
            document = json.loads(data.read())
        if document["format"] > FORMAT:
            raise IntegrityError(f"{where} was written by a newer Trackbridge")
        for table, entries in document["rows"].items():
            for row, instead_of in entries:
                typed = dict.fromkeys(TABLES[table].names) | typed_row(table, row)
                file.kept[table][name_of(table, typed)] = (typed, instead_of)
        for table, entries in document["written"].items():
            width = len(NAMED_BY[table])
            for entry in entries:
                file.written[table][tuple(entry[:width])] = next(iter(entry[width:]), None)
        for table, names in document.get("begun", {}).items():
            file.begun[table] |= {tuple(name) for name in names}
        file.renamed.update(document.get("renamed", {}))
        file.homes.update(document.get("homes", {}))
    except NotFoundError:
        return file
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"{where} is damaged ({error})") from error
    return file
