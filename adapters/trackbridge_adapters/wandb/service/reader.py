"""Reads runs from a W&B server."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import timezone
from math import ceil
from typing import Any, BinaryIO

from trackbridge.adapter import STORE, Batch, FileRef, Query, Row, RunInfo, RunRef
from trackbridge.columns import batches
from trackbridge.errors import NotFoundError
from trackbridge.schema import SHARED, TABLES
from trackbridge_adapters.wandb import tables as small
from trackbridge_adapters.wandb.service.capabilities import CAPABILITIES
from trackbridge_adapters.wandb.service.contents import Contents, Files
from trackbridge_adapters.wandb.service.histories import Histories
from trackbridge_adapters.wandb.service.ledger import HIDDEN
from trackbridge_adapters.wandb.service.node import RunNode
from trackbridge_adapters.wandb.service.pages import (
    PAGE,
    Pages,
    Place,
    of_any_generation,
    parts,
)
from trackbridge_adapters.wandb.service.shared import Shared
from trackbridge_adapters.wandb.service.streams import LINES
from trackbridge_adapters.wandb.service.wire import Wire

CALLS_PER_SECOND = 1.0
"""What is reckoned with where no limit is given: plans allow 50 to 200 a minute."""
STORE_PROJECT = "trackbridge"
"""Where the run is that holds what belongs to no run, where runs go into several projects."""


class Service:
    """A project on a W&B server, or all projects of an entity, for reading."""

    capabilities = CAPABILITIES

    def __init__(self, wire: Wire, entity: str, project: str) -> None:
        place = "/".join(filter(None, (entity, project)))
        self.address = f"wandb:{wire.login.base_url}/{place}"
        self.wire = wire
        self._pages = Pages(wire)
        self._entity, self._project = entity, project
        self.shared = Shared(wire, self._store_place, project)
        self._histories = Histories(wire, self._pages, self.address)
        self._files = Files(wire, self.address, self._run)
        self._lines: dict[RunRef, int] = {}

    @property
    def calls_per_second(self) -> float:
        return self.wire.per_second or CALLS_PER_SECOND

    def calls(self, runs: Sequence[RunInfo], versions: int) -> int:
        """For the listing, and for reading; lines of streams are known of runs that were listed."""
        lines = sum(self._lines.get(info.ref, 0) for info in runs)
        lists = sum(info.files // PAGE for info in runs)
        return 2 * ceil(len(runs) / PAGE) + ceil(lines / LINES) + lists

    def list_runs(self, query: Query) -> Iterator[RunInfo]:
        self._files.forget()
        found: dict[RunRef, RunInfo] = {}
        for run in _without_halves(self._meant(query)):
            found[run.ref] = run.info()
            self._lines[run.ref] = run.live + run.samples + run.console_lines
            self._files.listed(run)
        for info in found.values():
            if not query.since or (info.started and info.started >= query.since):
                yield info

    def read_runs(
        self, refs: Sequence[RunRef], tables: Collection[str] | None = None
    ) -> Iterator[Batch]:
        wanted = set(TABLES) - SHARED if tables is None else set(tables)
        by_place: dict[str, list[str]] = defaultdict(list)
        for ref in refs:
            by_place[ref.project].append(ref.run_id)
        for project, names in by_place.items():
            place = Place.of(project)
            for part in parts(names, PAGE):
                yield from self._read(place, self._these(place, part), wanted)

    def read_shared(self, query: Query) -> Iterator[Batch]:
        yield from self.shared.read(query)

    def open_file(self, file: FileRef) -> BinaryIO:
        if file.run == STORE:
            return self.shared.ledger.open(file.path)
        return self._files.open(file)

    @property
    def _store_place(self) -> Place:
        return Place(self._entity, self._project or STORE_PROJECT)

    def _places(self, query: Query) -> list[Place]:
        places = [Place(self._entity, self._project)]
        if not self._project:
            places = list(self._pages.projects(self._entity))
            self._check_any(places)
        return [place for place in places if not query.projects or str(place) in query.projects]

    def _meant(self, query: Query) -> Iterator[RunNode]:
        """The runs that a query means, in all of their generations."""
        meant = set(query.run_ids)
        for place in self._places(query):
            for filters in _filters(query):
                for run in self._runs(place, filters):
                    if not meant or run.ref.run_id in meant:  # some are called like a generation
                        yield run

    def _check_replaced(self, runs: Sequence[RunNode]) -> None:
        """Runs may be there beside what they have replaced: it is not read."""

    def _check_any(self, places: Collection[Place]) -> None:
        if not places:
            raise NotFoundError(
                f"{self.address}: {self._entity} has no projects, or none that you may see"
            )

    def _runs(self, place: Place, filters: Mapping[str, Any]) -> Iterator[RunNode]:
        """Runs of a project, but for the one that is ours; a later one replaces one of its `ref`.

        That may be the same run again, where pages shift, or one that was replaced.
        """
        for node in self._pages.runs(place, filters):
            if node["name"] != HIDDEN:
                yield RunNode(place, node)

    def _run(self, ref: RunRef) -> RunNode:
        return self._these(Place.of(ref.project), [ref.run_id])[0]

    def _these(self, place: Place, run_ids: Sequence[str]) -> list[RunNode]:
        """Runs of a project as they are now, which have to be there; at most a page of them."""
        runs = list(self._runs(place, of_any_generation(run_ids)))
        self._check_replaced(runs)
        found = {run.ref: run for run in _without_halves(runs)}
        missing = set(run_ids) - {ref.run_id for ref in found}
        if missing:
            raise NotFoundError(
                f"{self.address}: no run {min(missing)!r} in project {str(place)!r}"
            )
        return [found[RunRef(str(place), run_id)] for run_id in run_ids]

    def _read(self, place: Place, runs: list[RunNode], wanted: set[str]) -> Iterator[Batch]:
        """Their points first: what is damaged in them stands in the rows of `runs`."""
        yield from self._histories.read(place, runs, wanted)
        yield from self._small(runs, wanted)

    def _small(self, runs: list[RunNode], wanted: set[str]) -> Iterator[Batch]:
        rows: dict[str, list[Row]] = defaultdict(list)
        for contents in self._contents(runs, wanted):
            run = contents.run
            found = run.small_tables()
            found["artifacts"] = list(small.artifact_rows(contents.versions))
            found["files"] = [*run.files(), *small.file_rows(contents.versions)]
            extra = run.extra()
            if run.damage:
                extra |= {"damage": run.damage, "incomplete": True}
            source = f"{self.wire.login.base_url}/{run.place}/runs/{run.name}"
            found["runs"] = [{**run.run_row(source), "extra": small.compact(extra)}]
            for table in wanted & found.keys():
                rows[table] += ({**row, **run.ref._asdict()} for row in found[table])
        for table, those in rows.items():
            yield from batches(table, those)

    def _contents(self, runs: list[RunNode], wanted: set[str]) -> Iterable[Contents]:
        """Runs with what their artifacts consist of, where that is wanted."""
        if wanted & {"artifacts", "files"}:
            return self._files.with_entries(runs)
        return map(Contents, runs)


def _without_halves(runs: Iterable[RunNode]) -> Iterator[RunNode]:
    """Without those that are half uploaded, where they were to replace one that is there whole."""
    whole: set[RunRef] = set()
    for run in runs:
        if not run.unfinished:
            whole.add(run.ref)
        elif run.ref in whole:
            continue
        yield run


def _filters(query: Query) -> Iterator[dict[str, Any]]:
    """Filters that leave in all that a query means; ids a page at a time.

    A run that was brought there started before it was created there.
    """
    since: dict[str, Any] = {}
    if query.since:
        moment = query.since.astimezone(timezone.utc)
        since = {"createdAt": {"$gte": moment.strftime("%Y-%m-%dT%H:%M:%S")}}
    if query.run_ids:
        for part in parts(sorted(query.run_ids), PAGE):
            yield {**since, **of_any_generation(part)}
    else:
        yield since
