"""Reads runs from a W&B server."""

from __future__ import annotations

import io
import shutil
import tempfile
import threading
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timezone
from itertools import islice
from math import ceil
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa

from trackbridge.adapter import (
    ORIGIN,
    SIDECAR,
    STORE,
    Batch,
    Capabilities,
    FileRef,
    Query,
    Row,
    RunInfo,
    RunRef,
)
from trackbridge.columns import batches
from trackbridge.errors import IntegrityError, NotFoundError
from trackbridge.prefetch import together
from trackbridge.schema import DEFAULTS, SHARED, TABLES
from trackbridge_adapters.wandb import jsontext
from trackbridge_adapters.wandb import tables as small
from trackbridge_adapters.wandb.artifacts import Version
from trackbridge_adapters.wandb.points import TIMES
from trackbridge_adapters.wandb.service import live
from trackbridge_adapters.wandb.service.answers import RefusedError
from trackbridge_adapters.wandb.service.exports import Export
from trackbridge_adapters.wandb.service.files import Checks, entry_path
from trackbridge_adapters.wandb.service.node import RunNode, moment
from trackbridge_adapters.wandb.service.pages import PAGE, Node, Pages, Place, generations, named
from trackbridge_adapters.wandb.service.shared import HIDDEN, HOLDS, Shared
from trackbridge_adapters.wandb.service.streams import LINES, Streams, fetched
from trackbridge_adapters.wandb.service.versions import artifact_place, entries_of
from trackbridge_adapters.wandb.service.wire import Wire

CALLS_PER_SECOND = 1.0
"""What is reckoned with where no limit is given: plans allow 50 to 200 a minute."""
TOGETHER = 8
"""Exports and manifests that are fetched at a time."""
LARGE = 8 * 1024**2
"""Bytes of an export that are kept in memory; larger ones go to disk."""
KEPT = 1000
"""Runs of which it is remembered where their files are."""
STORE_PROJECT = "trackbridge"
"""Where that run is, where runs go into several projects."""

CONSOLE = "original/output.log"
"""Console output as the run had it: what the client makes of it is its own."""

WRITTEN = Capabilities(
    holds={
        "projects": ("project_id", "notes", "source"),
        "runs": (
            *("name", "status", "started", "ended", "user", "group", "job_type"),
            *("notes", "host", "program", "git_remote", "git_commit", "python", "source"),
        ),
        "params": ("key", "path", "value", "type"),
        "tags": ("key",),
        "metrics": ("key", "step", "time", "row", "value", "system"),
        "series": ("key", "step", "time", "row", "kind", "value", "path"),
        "metric_defs": ("key", "glob", "x_axis", "summary", "goal", "hidden"),
        "summary": ("key", "path", "value", "type"),
        "artifacts": (
            *("collection", "kind", "version", "aliases", "direction"),
            *("description", "metadata", "extra"),
        ),
        "files": ("owner", "path", "size", "sha256", "reference", "extra"),
    },
    nan=True,
    largest=None,
    nul=True,
    rows=True,
    times=TIMES,
    console=CONSOLE,
    parallel_writers=True,
    parallel_files=True,
)


CAPABILITIES = replace(
    WRITTEN,
    holds={
        **WRITTEN.holds,
        **HOLDS,
        "runs": (*WRITTEN.holds["runs"], "sweep_id", "extra"),
        "metric_defs": (*WRITTEN.holds["metric_defs"], "extra"),
        "logs": ("stream", "line", "time", "text"),
        "inputs": ("name", "kind", "digest", "source", "extra"),
        "artifacts": (*WRITTEN.holds["artifacts"], "digest"),
        "files": (*WRITTEN.holds["files"], "media_type"),
    },
)
"""What is read of runs that were born on a server; `WRITTEN` is what others keep there."""


class Entry(NamedTuple):
    """A file of an artifact, and where its bytes are."""

    entry: Any
    url: str


class Contents:
    """Where the files of a run's artifacts are, by owner and path."""

    def __init__(self, run: RunNode) -> None:
        self.run = run
        self.versions: list[Version] = []
        self.entries: dict[tuple[str, str], Entry] = {}

    def add(self, version: Version, node: Node, manifest: bytes) -> None:
        """Take in a version whose entries are in its manifest."""
        version.entries, config = entries_of(manifest, version.owner, self.run.damage)
        self.versions.append(version)
        for entry in version.entries:
            if not entry.ref:
                url = entry_path(artifact_place(node), entry, config)
                self.entries[version.owner, entry.path] = Entry(entry, url)
            if self.run.carried:  # an id of this server's
                entry.ClearField("birth_artifact_id")


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
        self._checks = Checks()
        self._contents: dict[RunRef, Contents] = {}
        self._asking = threading.Lock()
        self._lines: dict[RunRef, int] = {}
        self._sidecars: dict[RunRef, Node | None] = {}
        """Of runs that were listed and brought here: a request for each would be too many."""

    @property
    def calls_per_second(self) -> float:
        return self.wire.per_second or CALLS_PER_SECOND

    def calls(self, runs: Sequence[RunInfo]) -> int:
        """For the listing, and for reading; lines of streams are known of runs that were listed."""
        lines = sum(self._lines.get(info.ref, 0) for info in runs)
        lists = sum(info.files // PAGE for info in runs)
        return 2 * ceil(len(runs) / PAGE) + ceil(lines / LINES) + lists

    def list_runs(self, query: Query) -> Iterator[RunInfo]:
        self._contents.clear()
        found: dict[RunRef, RunInfo] = {}
        for place in self._places(query):
            for filters in _filters(query):
                for run in self._runs(place, filters):
                    found[run.ref] = run.info()
                    self._lines[run.ref] = run.live + run.samples + run.console_lines
                    if run.carried:
                        self._sidecars[run.ref] = run.file(SIDECAR)
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
                runs = {run.ref: run for run in self._runs(place, of_any_generation(part))}
                _check_all_there(self.address, place, part, runs)
                yield from self._read(place, [runs[RunRef(project, n)] for n in part], wanted)

    def read_shared(self, query: Query) -> Iterator[Batch]:
        yield from self.shared.read(query)

    def open_file(self, file: FileRef) -> BinaryIO:
        if file.run == STORE:
            return self._open_shared(file.path)
        what = f"{self.address}: run {file.run.run_id}: {'/'.join(filter(None, file[1:]))}"
        if file[1:] == ("", SIDECAR) and file.run in self._sidecars:
            node = self._sidecars[file.run]
            if node is None or not node["sizeBytes"]:
                raise NotFoundError(f"{what}: no such file")
            with suppress(NotFoundError, RefusedError):
                return self._checks.of(self.wire.open(node["directUrl"]), what, *_told(node))
        contents = self._contents_of(file.run, None)
        try:
            return self._opened(contents, file, what)
        except (NotFoundError, RefusedError):  # signed addresses expire
            return self._opened(self._contents_of(file.run, contents), file, what)

    def _opened(self, contents: Contents, file: FileRef, what: str) -> BinaryIO:
        if not file.owner:
            return self._open_own(contents.run.file(file.path), what)
        found = contents.entries.get((file.owner, file.path))
        if found is None:
            raise NotFoundError(f"{what}: no such file")
        entry, url = found
        return self._checks.of(self.wire.open(url), what, entry.size, entry.digest)

    def _open_own(self, node: Node | None, what: str) -> BinaryIO:
        """A file of a run itself; one of ours without content counts as none.

        Without its bytes though, what it says would be missed unnoticed.
        """
        if node is None or (node["name"] == SIDECAR and not node["sizeBytes"]):
            raise NotFoundError(f"{what}: no such file")
        if node["sizeBytes"] == 0:  # some of these were never uploaded, and nobody gives them
            return io.BytesIO()
        url, ours = node["directUrl"], node["name"].startswith(f"{ORIGIN}/")
        data = self._listed(url, what) if ours else self.wire.open(url)
        return self._checks.of(data, what, *_told(node))

    def _listed(self, url: str, what: str) -> BinaryIO:
        """A file without which a run cannot be read; that it is missing is no answer."""
        try:
            return self.wire.open(url)
        except NotFoundError as error:
            raise IntegrityError(f"{error}, though it is listed: {what}") from error

    @property
    def _store_place(self) -> Place:
        return Place(self._entity, self._project or STORE_PROJECT)

    def _open_shared(self, path: str) -> BinaryIO:
        try:
            nodes = list(self._pages.runs(self._store_place, named([HIDDEN])))
        except NotFoundError:
            nodes = []
        file = RunNode(self._store_place, nodes[0]).file(path) if nodes else None
        return self._open_own(file, f"{self.address}: {path}")

    def _places(self, query: Query) -> list[Place]:
        places = [Place(self._entity, self._project)]
        if not self._project:
            places = [p for p in self._pages.projects(self._entity) if p != self._store_place]
            self._check_any(places)
        return [place for place in places if not query.projects or str(place) in query.projects]

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

    def _read(self, place: Place, runs: list[RunNode], wanted: set[str]) -> Iterator[Batch]:
        points = bool(wanted & {"metrics", "series"})
        read: dict[RunRef, Export] = {}
        if points:
            yield from _wanted(self._exports(runs, read), wanted)
        streams = {"history", "events"} if points else set()
        streams |= {"console"} if "logs" in wanted else set()
        for found in fetched(self._pages, place, runs, streams):
            if points:
                yield from _wanted(_points(found, read.get(found.run.ref)), wanted)
            if found.console:
                yield from batches("logs", list(_logs(found)))
        yield from self._small(runs, wanted)

    def _exports(self, runs: list[RunNode], read: dict[RunRef, Export]) -> Iterator[Batch]:
        """Points of exported histories; `read` tells how far each of them goes."""
        jobs = [(run, url) for run in runs for url in run.exported]
        with together(self._export, jobs, TOGETHER) as files:
            for (run, _), file in files:
                mixed = {key for key, kinds in run.kinds.items() if set(kinds) != {"string"}}
                export = read.setdefault(
                    run.ref, Export(run.ref, run.given, mixed, exact=not run.carried)
                )
                with file:
                    yield from self._decoded(export, file)

    def _export(self, job: tuple[RunNode, str]) -> pa.NativeFile:
        """The bytes of an export, in memory or in a file that goes with its handle."""
        with self._listed(job[1], "an export of its history") as data:
            head = _block(data, LARGE)
            if len(head) < LARGE:
                return pa.BufferReader(head)
            file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by whoever reads it
            file.write(head)
            shutil.copyfileobj(data, file, LARGE)
            file.seek(0)
            return pa.PythonFile(file, "r")

    def _decoded(self, export: Export, file: pa.NativeFile) -> Iterator[Batch]:
        try:
            yield from export.read(file)
        except (pa.ArrowInvalid, OSError, KeyError) as error:
            reason = str(error).splitlines()[0]
            raise IntegrityError(
                f"{self.address}: an export of its history cannot be read: {reason}"
            ) from error

    def _small(self, runs: list[RunNode], wanted: set[str]) -> Iterator[Batch]:
        rows: dict[str, list[Row]] = defaultdict(list)
        for contents in self._with_entries(runs, wanted):
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
                shown = _held(table, found[table]) if run.carried else found[table]
                rows[table] += ({**row, **run.ref._asdict()} for row in shown)
        for table, those in rows.items():
            yield from batches(table, those)

    def _with_entries(self, runs: list[RunNode], wanted: set[str]) -> Iterator[Contents]:
        """Runs with what their artifacts consist of, where that is wanted."""
        jobs = [
            (run, version, node)
            for run in runs
            for version, node in (run.versions() if wanted & {"artifacts", "files"} else ())
        ]
        manifests: dict[RunRef, list[tuple[Version, Node, bytes]]] = defaultdict(list)
        with together(self._manifest, jobs, TOGETHER) as found:
            for (run, version, node), manifest in found:
                manifests[run.ref].append((version, node, manifest))
        for run in runs:
            contents = Contents(run)
            for version, node, manifest in manifests[run.ref]:
                contents.add(version, node, manifest)
            if wanted & {"artifacts", "files"}:
                self._keep(contents)
            yield contents

    def _manifest(self, job: tuple[RunNode, Version, Node]) -> bytes:
        _, _, node = job
        manifest = node["currentManifest"]
        if not manifest:
            return b'{"contents": {}}'
        with self._listed(manifest["file"]["directUrl"], "the manifest of an artifact") as data:
            return data.read()

    def _keep(self, contents: Contents) -> None:
        ref = contents.run.ref
        self._contents.pop(ref, None)
        if len(self._contents) >= KEPT:
            del self._contents[next(iter(self._contents))]
        self._contents[ref] = contents

    def _contents_of(self, ref: RunRef, old: Contents | None) -> Contents:
        """What is known of a run's files, but not what was known before; threads ask for it."""
        with self._asking:
            found = self._contents.get(ref)
            if found is None or found is old:
                place = Place.of(ref.project)
                runs = {r.ref: r for r in self._runs(place, of_any_generation([ref.run_id]))}
                _check_all_there(self.address, place, [ref.run_id], runs)
                [found] = self._with_entries([runs[ref]], {"files"})
            return found


def _told(node: Node) -> tuple[int | None, str | None]:
    """Size and MD5 of a file of a run."""
    return node["sizeBytes"], node["md5"]


def _held(table: str, rows: Iterable[Row]) -> Iterator[Row]:
    """Rows of a run that was brought there, with what is said to be held and no more."""
    held = WRITTEN.holds.get(table)
    if held is not None:
        names = {*held, *(("extra",) if table == "runs" else ())}  # where damage is told
        for row in rows:
            rest = {name: DEFAULTS.get((table, name)) for name in row.keys() - names}
            yield {**row, **rest}


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


def parts(names: Sequence[str], size: int) -> Iterator[list[str]]:
    rest = iter(names)
    while part := list(islice(rest, size)):
        yield part


def of_any_generation(names: Collection[str]) -> dict[str, Any]:
    return named([each for name in names for each in generations(name)])


def _check_all_there(
    address: str, place: Place, names: Collection[str], runs: Collection[RunRef]
) -> None:
    missing = set(names) - {ref.run_id for ref in runs}
    if missing:
        raise NotFoundError(f"{address}: no run {min(missing)!r} in project {str(place)!r}")


def _points(found: Streams, export: Export | None) -> Iterator[Batch]:
    """Points that are in no export: rows that came after it, and samples of the system."""
    run = found.run
    rows, last = (export.rows, export.last_step) if export else (0, None)
    lines = Counted(line for line in found.history if _is_after(line, last))
    yield from live.history(run.ref, lines, run.given, run.damage, rows, exact=not run.carried)
    if rows + lines.count < run.lines:
        run.damage.append(
            f"history: the server counts {run.lines} rows and gives {rows + lines.count}"
        )
    yield from live.samples(run.ref, found.events, run.damage)


class Counted(Iterator[str]):
    """Lines as they come, and how many there were."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines, self.count = lines, 0

    def __next__(self) -> str:
        line = next(self._lines)
        self.count += 1
        return line


def _is_after(line: str, step: int | None) -> bool:
    """Whether a row is none of those that were exported, which end with a step."""
    if step is None:
        return True
    told = jsontext.load(line).get("_step")
    return not isinstance(told, int) or told > step


def _logs(found: Streams) -> Iterator[Row]:
    """Console lines, each with its end, as other stores have them."""
    for node in found.console:
        yield {
            **found.run.ref._asdict(),
            "stream": "stderr" if node["level"] == "error" else "stdout",
            "line": node["number"],
            "time": moment(node["timestamp"]),
            "text": f"{node['line']}\n",
        }


def _wanted(found: Iterator[Batch], tables: Collection[str]) -> Iterator[Batch]:
    return (batch for batch in found if batch.table in tables and batch.data.num_rows)


def _block(data: BinaryIO, size: int) -> bytes:
    """So many bytes, or all that there are."""
    parts: list[bytes] = []
    while size and (part := data.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
