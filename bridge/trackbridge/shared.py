"""Moves what belongs to no run: projects, registered models, sweeps, reports.

Like runs, shared rows are fitted into the target, and what it does not hold is kept in a file of
the store itself (`trackbridge/shared.json`) and laid over the native rows on reading. Rows are
told apart by the names in `schema.NAMED_BY`; other rows of the target are left alone.
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterable
from typing import Any

from trackbridge.adapter import (
    ORIGIN,
    STORE,
    FileRef,
    Query,
    Reader,
    Row,
    RunInfo,
    RunKey,
    RunRef,
    Writer,
)
from trackbridge.columns import batches
from trackbridge.digest import row_digest
from trackbridge.errors import IntegrityError, NotFoundError
from trackbridge.fit import fit_rows
from trackbridge.losses import Losses
from trackbridge.schema import NAMED_BY, SHARED, TABLES
from trackbridge.sidecar import plain_row, typed_row

PATH = f"{ORIGIN}/shared.json"
FORMAT = 1

Name = tuple[Any, ...]
Rows = dict[str, dict[Name, Row]]
"""Shared rows by table and name, labelled with the projects and runs where they were born."""


class Origins:
    """Projects and runs of a store by their native names and by those they were born with."""

    def __init__(self, runs: Iterable[tuple[RunRef, RunKey]]) -> None:
        self.projects: dict[str, RunKey] = {}
        self.runs: dict[str, RunKey] = {}
        for ref, key in runs:
            self.projects[ref.project] = key._replace(run_id="")
            self.runs[ref.run_id] = key

    def project(self, native: str) -> str:
        return self.projects[native].project if native in self.projects else native

    def run(self, native: str) -> str:
        return self.runs[native].run_id if native in self.runs else native


def births(reader: Reader, query: Query, runs: Iterable[RunInfo]) -> list[tuple[RunRef, RunKey]]:
    """Where every run of a store was born, though just some are meant: shared rows name any."""
    every = runs if query == Query() else reader.list_runs(Query())
    return [(info.ref, info.key) for info in every]


def read(reader: Reader, query: Query, origins: Origins) -> Rows:
    """The shared rows of the projects that the query means, as they were where they were born."""
    rows: Rows = {table: {} for table in SHARED}
    for batch in reader.read_shared(query):
        for row in batch.data.to_pylist():
            if row.get("project") is not None:
                row["project"] = origins.project(row["project"])
            if row.get("run_id") is not None:
                row["run_id"] = origins.run(row["run_id"])
            rows[batch.table][_name(batch.table, row)] = row
    wanted = {origins.project(native) for native in query.projects}
    for table, kept in _kept(reader).items():
        for name, (row, instead_of) in kept.items():
            native = rows[table].get(name)
            unchanged = instead_of == (None if native is None else row_digest(table, native))
            if unchanged and (not wanted or row.get("project", None) in {None, *wanted}):
                rows[table][name] = row
    return rows


def move(
    rows: Rows, origins: Origins, writer: Writer, there: Origins, tables: Collection[str] = SHARED
) -> tuple[Losses, list[tuple[str, Name]]]:
    """Bring shared rows to the target; gives what it cannot show, and what did not arrive."""
    losses = Losses()
    wanted = {table: rows[table] for table in sorted(tables)}
    if not lacking(wanted, read(writer, Query(), there)):
        return losses, []
    kept = _kept(writer)
    with writer.open([]) as sink:
        for table, named in wanted.items():
            shown = fit_rows(table, list(named.values()), writer.capabilities, losses)
            natives = {_name(table, row): row_digest(table, row) for row in shown}
            for name, row in named.items():
                kept[table].pop(name, None)
                if natives.get(name) != row_digest(table, row):
                    kept[table][name] = (row, natives.get(name))
            for batch in batches(table, [_labelled(row, origins, writer) for row in shown]):
                sink.write(batch)
        if any(kept.values()):
            sink.put_file(FileRef(STORE, "", PATH), io.BytesIO(_dumps(kept)))
        sink.commit()
    return losses, lacking(wanted, read(writer, Query(), there))


def lacking(rows: Rows, there: Rows) -> list[tuple[str, Name]]:
    """Tables and names of rows that are not there as they should be."""
    return [
        (table, name)
        for table, named in rows.items()
        for name, row in named.items()
        if name not in there[table]
        or row_digest(table, there[table][name]) != row_digest(table, row)
    ]


def _labelled(row: Row, origins: Origins, writer: Writer) -> Row:
    """A row under the names that its project and run have in the target."""
    born = {key.project: key for key in origins.projects.values()}
    runs = {key.run_id: key for key in origins.runs.values()}
    labelled = dict(row)
    if row.get("project") is not None:
        key = born.get(row["project"], RunKey("", "", row["project"], ""))
        labelled["project"] = writer.target(key).project
    if row.get("run_id") in runs:
        labelled["run_id"] = writer.target(runs[row["run_id"]]).run_id
    return labelled


Kept = dict[str, dict[Name, tuple[Row, str | None]]]
"""By table and name: a row, and the digest of the native row that stands in its place."""


def _kept(reader: Reader) -> Kept:
    kept: Kept = {table: {} for table in SHARED}
    try:
        with reader.open_file(FileRef(STORE, "", PATH)) as file:
            document = json.loads(file.read())
        if document["format"] > FORMAT:
            raise IntegrityError(f"{reader.address}: {PATH} was written by a newer Trackbridge")
        for table, entries in document["rows"].items():
            for row, instead_of in entries:
                typed = dict.fromkeys(TABLES[table].names) | typed_row(table, row)
                kept[table][_name(table, typed)] = (typed, instead_of)
    except NotFoundError:
        return kept
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"{reader.address}: {PATH} is damaged ({error})") from error
    return kept


def _dumps(kept: Kept) -> bytes:
    rows = {
        table: [[plain_row(row), instead_of] for _, (row, instead_of) in sorted(named.items())]
        for table, named in kept.items()
        if named
    }
    return json.dumps({"format": FORMAT, "rows": rows}, sort_keys=True).encode()


def _name(table: str, row: Row) -> Name:
    return tuple(row[column] for column in NAMED_BY[table])
