"""Moves what belongs to no run: projects, registered models, sweeps, reports.

Like runs, shared rows are fitted into the target, and what it does not hold is kept in a file of
the store itself (`trackbridge/shared.json`) and laid over the native rows on reading. Rows are
told apart by the names in `schema.NAMED_BY`. Rows that were in the target before are left alone,
those of the same name too: somebody else's experiment must not become the source's. Then the
source's row is in that file alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping

from trackbridge.adapter import (
    Batch,
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
from trackbridge.errors import ConfigError
from trackbridge.fit import fit_rows, holds_everything
from trackbridge.losses import Loss, Losses
from trackbridge.schema import SHARED
from trackbridge.shared_file import File, Name, States, name_of, read_file, state_of

NOT_READ = "not_read"
"""Field of a project's `extra`: kinds of things that the adapter does not read -> how many."""

Rows = dict[str, dict[Name, Row]]
"""Shared rows by table and name, labelled with the projects and runs where they were born."""


class Origins:
    """Projects and runs of a store by their native names and by those they were born with.

    `placed` are keys of runs that go into projects of another name.
    """

    def __init__(
        self, runs: Iterable[tuple[RunRef, RunKey]], placed: Iterable[RunKey] = ()
    ) -> None:
        self.placed = {key.label: key for key in placed if key.label != key.project}
        self.projects: dict[str, RunKey] = {}
        self.runs: dict[str, RunKey] = {}
        for ref, key in runs:
            self.projects[ref.project] = key._replace(run_id="")
            self.runs[ref.run_id] = key
        self.born_projects = {key.project: key for key in self.projects.values()}
        kinds = {(key.kind, key.instance) for key in self.projects.values()}
        self.kind = kinds.pop() if len(kinds) == 1 else ("", "")
        """Of what stores they come, if all are of one: projects without runs do not say."""
        self.born_runs = {key.run_id: key for key in self.runs.values()}

    def project(self, native: str) -> str:
        return self.projects[native].project if native in self.projects else native

    def run(self, native: str) -> str:
        return self.runs[native].run_id if native in self.runs else native


def births(reader: Reader, query: Query, runs: Iterable[RunInfo]) -> list[tuple[RunRef, RunKey]]:
    """Where every run of a store was born, though just some are meant: shared rows name any."""
    every = runs if query == Query() else reader.list_runs(Query())
    return [(info.ref, info.key) for info in every]


def read(reader: Reader, query: Query, origins: Origins, losses: Losses | None = None) -> Rows:
    """The shared rows of the projects that the query means, as they were where they were born.

    Projects that were given another name on the way are called by that. What the reader leaves out
    is added to the losses.
    """
    losses = Losses() if losses is None else losses
    return _laid_over(reader.read_shared(query), query, origins, losses, read_file(reader))


def _laid_over(
    shown: Iterable[Batch], query: Query, origins: Origins, losses: Losses, file: File
) -> Rows:
    """What a store shows, under the rows that its file has kept."""
    rows = _native(shown, origins, losses, file)
    wanted = {_label(native, origins, file) for native in query.projects}
    for table, kept in file.kept.items():
        for name, (row, instead_of) in kept.items():
            native = rows[table].get(name)
            unchanged = instead_of == (None if native is None else row_digest(table, native))
            if unchanged and (not wanted or row.get("project", None) in {None, *wanted}):
                rows[table][name] = row
    if not query.include_deleted:
        named = rows["projects"].items()
        rows["projects"] = {name: row for name, row in named if not row.get("deleted")}
    return rows


def read_for(
    reader: Reader,
    query: Query,
    origins: Origins,
    named: Callable[[str], str | None],
    losses: Losses,
) -> Rows:
    """The shared rows of a source, under the names that its projects are to have in a target.

    `named` gives that of a native project; None: the one that it was born with.
    """
    file = read_file(reader)
    renamed = file.renamed
    names = {
        _label(native, origins, file): wanted
        for native in origins.projects
        if (wanted := named(native)) is not None
    }
    rows: Rows = {table: {} for table in SHARED}
    for table, there in _laid_over(reader.read_shared(query), query, origins, losses, file).items():
        for row in there.values():
            project = row.get("project")
            if project is not None:
                row = {**row, "project": names.get(project, renamed.get(project, project))}
            name = name_of(table, row)
            if row_digest(table, rows[table].get(name, row)) != row_digest(table, row):
                raise ConfigError(
                    f"{reader.address}: two {table} would both become {_words([name])!r}; take one "
                    "project at a time, or give one of them another name with --rename-project"
                )
            rows[table][name] = row
    return rows


def renamed(reader: Reader) -> Mapping[str, str]:
    """Projects of a store that were given another name on the way -> the one at their birth."""
    return read_file(reader).renamed


def brought(reader: Reader, origins: Origins) -> dict[str, set[Name]]:
    """Names of rows that a store shows and that were brought there, by table."""
    file = read_file(reader)
    shown = _native(reader.read_shared(Query()), origins, Losses(), file)
    every = holds_everything(reader.capabilities)  # then nobody else writes rows into it
    return {
        table: {name for name in rows if every or name in file.ours(table)}
        for table, rows in shown.items()
    }


def _label(native: str, origins: Origins, file: File) -> str:
    return native if native in file.renamed else file.homes.get(native) or origins.project(native)


def _native(shown: Iterable[Batch], origins: Origins, losses: Losses, file: File) -> Rows:
    rows: Rows = {table: {} for table in SHARED}
    for batch in shown:
        for row in batch.data.to_pylist():
            if row.get("project") is not None:
                row["project"] = _label(row["project"], origins, file)
            if row.get("run_id") is not None:
                row["run_id"] = origins.run(row["run_id"])
            if batch.table == "projects":
                row["extra"] = _without_not_read(row, losses)
            rows[batch.table][name_of(batch.table, row)] = row
    return rows


def _without_not_read(row: Row, losses: Losses) -> str | None:
    extra: str | None = row["extra"]
    if not extra or NOT_READ not in extra:
        return extra
    try:
        fields = json.loads(extra)
        counts = dict(fields.pop(NOT_READ))
    except (ValueError, KeyError, TypeError, AttributeError):  # text that only looks like it
        return extra
    for what, count in counts.items():
        losses.add(f"{what} not moved", row["project"], count, kept=False)
    return json.dumps(fields, sort_keys=True, ensure_ascii=False) if fields else None


def move(
    rows: Rows, origins: Origins, writer: Writer, there: Origins, tables: Collection[str]
) -> list[Loss]:
    """Bring shared rows of some tables to the target; gives what it cannot show.

    Rows and the file of the store may come apart when the process dies, for not every target has
    transactions. So the file first says what is about to be written, then what was.
    """
    wanted = {table: rows[table] for table in sorted(tables)}
    shown_now = list(writer.read_shared(Query()))
    if not _is_due(wanted, writer, there, shown_now):
        return []
    with writer.open([]) as sink:
        # the file is read now that nobody else writes, where the store has one writer
        fitted = _Fitted(wanted, origins, writer, there, shown_now)
        for table, found in fitted.shown.items():
            for batch in batches(table, [_labelled(row, origins, writer) for row in found]):
                sink.write(batch)
        if not holds_everything(writer.capabilities):
            fitted.file.begin(fitted.states)
        if fitted.file:
            fitted.file.put(sink)
        sink.commit()
    if fitted.file.has_begun(wanted):
        with writer.open([]) as sink:
            file = read_file(writer)
            file.end(fitted.states)
            file.put(sink)
            sink.commit()
    return fitted.losses.list()


def foreseen(
    rows: Rows, origins: Origins, writer: Writer, there: Origins, steps: Iterable[Collection[str]]
) -> list[Loss]:
    """What `move` would give, called with the tables of each step; nothing is written."""
    shown_now = list(writer.read_shared(Query()))
    losses = Losses()
    for tables in steps:
        wanted = {table: rows[table] for table in sorted(tables)}
        if _is_due(wanted, writer, there, shown_now):
            losses.merge(_Fitted(wanted, origins, writer, there, shown_now).losses.list())
    return losses.list()


def _is_due(wanted: Rows, writer: Writer, there: Origins, shown_now: Iterable[Batch]) -> bool:
    """Whether rows are not in the target as they should be, or nobody can say that they are."""
    file = read_file(writer)
    now = _laid_over(shown_now, Query(), there, Losses(), file)
    return file.has_begun(wanted) or bool(lacking(wanted, now))


class _Fitted:
    """Shared rows as a target is to show them, and its file with those that it does not."""

    def __init__(
        self,
        wanted: Rows,
        origins: Origins,
        writer: Writer,
        there: Origins,
        shown_now: Iterable[Batch],
    ) -> None:
        self.losses, self.file = Losses(), read_file(writer)
        self._caps = writer.capabilities
        self._homes = _homes(wanted.get("projects", {}), origins, writer)
        self.file.call(self._homes, {label: key.project for label, key in origins.placed.items()})
        before = _native(shown_now, there, Losses(), self.file)
        self.shown = {table: self._fit(table, rows, before) for table, rows in wanted.items()}
        self.states: States = {
            table: {name_of(table, row): state_of(table, row) for row in shown}
            for table, shown in self.shown.items()
        }

    def _fit(self, table: str, named: Mapping[Name, Row], before: Rows) -> list[Row]:
        file, losses = self.file, self.losses
        bare = holds_everything(self._caps)
        foreign = {} if bare else _foreign(named, before[table], file.ours(table))
        gone = file.gone(table, before[table]) & named.keys()
        if table == "model_versions":  # nor new ones of a model that is not there any more
            models = file.gone("models", before["models"])
            gone |= {name for name in named if name[:1] in models}
        unseen = file.unseen(self._homes) & named.keys() if table == "projects" else set()
        others = {*foreign, *gone, *unseen}
        ours = [row for name, row in named.items() if name not in others]
        shown = fit_rows(table, ours, self._caps, losses)
        losses.add(f"{table} not shown", _words(unseen), len(unseen))
        losses.add(f"{table} left as they are in the target", _words(foreign), len(foreign))
        losses.add(f"{table} removed or renamed in the target", _words(gone), len(gone))
        edited, other = file.replaced(table, before[table], shown)
        for kind, names_of in (
            (f"edits of {table} in the target undone", edited),
            (f"{table} brought before, now as in this source", other),
        ):
            losses.add(kind, _words(names_of), len(names_of), kept=False)
        natives = foreign | {name_of(table, row): row for row in shown}
        file.keep(table, named, {n: row_digest(table, row) for n, row in natives.items()})
        return shown


def _homes(named: Mapping[Name, Row], origins: Origins, writer: Writer) -> dict[Name, str]:
    """What projects are called in the target, if it shows any; those that have runs first."""
    shown = sorted(named, key=lambda name: name[0] not in origins.born_projects)
    if "projects" not in writer.capabilities.holds:
        return {}
    return {name: _labelled(named[name], origins, writer)["project"] for name in shown}


def _foreign(
    named: Collection[Name], there: Mapping[Name, Row], written: Collection[Name]
) -> dict[Name, Row]:
    """Native rows of the same names that others have made."""
    return {name: there[name] for name in named if name in there and name not in written}


def _words(names: Iterable[Name]) -> str:
    """The first of some names, for a person."""
    return next((" ".join(map(str, name)) for name in names), "")


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
    labelled = dict(row)
    if row.get("project") is not None:
        bare = RunKey(*origins.kind, row["project"], "")
        born = origins.born_projects.get(row["project"], bare)
        labelled["project"] = writer.target(origins.placed.get(row["project"], born)).project
    if row.get("run_id") in origins.born_runs:
        labelled["run_id"] = writer.target(origins.born_runs[row["run_id"]]).run_id
    return labelled
