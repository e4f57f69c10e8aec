"""Reads log folders of TensorBoard."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Collection, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from trackbridge.adapter import (
    ORIGIN,
    SHARED_FILE,
    STORE,
    Batch,
    Capabilities,
    FileRef,
    Query,
    Row,
    RunInfo,
    RunRef,
)
from trackbridge.columns import batches, sliced
from trackbridge.disk import native_errors
from trackbridge.errors import NotFoundError
from trackbridge.optional import Excerpt
from trackbridge.schema import POINTS, SHARED, TABLES
from trackbridge_adapters.tensorboard import carried
from trackbridge_adapters.tensorboard.carried import LOCK
from trackbridge_adapters.tensorboard.contents import Content
from trackbridge_adapters.tensorboard.facts import Facts
from trackbridge_adapters.tensorboard.folders import KIND, LogFolder, Run
from trackbridge_adapters.tensorboard.framing import Damage
from trackbridge_adapters.tensorboard.gathered import when
from trackbridge_adapters.tensorboard.names import shown
from trackbridge_adapters.tensorboard.scan import Scan

GATHERED = 5000
"""Rows of small tables that are gathered over runs before they are given."""
KEPT = 1000
"""Runs whose facts are remembered: tables and files of one run are asked for in turn."""
BYTES_PER_POINT = 70
"""Of event files, roughly: a scalar takes 50 and the tag."""
BESIDE = "files beside event files"
NAMED = 10
"""Links of a log folder that are named; all are counted."""

TIMES = (-(2**32) * 10**6, 2**32 * 10**6)
"""Microseconds that come back from seconds in a double: 1833 to 2106."""

CAPABILITIES = Capabilities(
    holds={
        "runs": ("name", "status", "started", "ended", "group", "host", "source", "extra"),
        "params": ("key", "value", "type"),
        "metrics": ("key", "step", "time", "value", "system"),
        "series": ("key", "step", "time", "row", "kind", "value", "path"),
        "metric_defs": ("key", "glob", "hidden", "extra"),
        "files": ("owner", "path", "size", "sha256", "media_type"),
    },
    nan=True,
    largest=None,
    signed_zero=True,
    nul=True,
    repeated_points=True,
    times=TIMES,
    parallel_writers=True,
    parallel_files=True,
)


class LogFolders:
    """A log folder, for reading."""

    capabilities = CAPABILITIES

    def __init__(self, location: str) -> None:
        self.address = f"{KIND}:{location}"
        self._folder = LogFolder(Path(location))
        self._runs: dict[RunRef, Run] | None = None
        self._facts: OrderedDict[RunRef, tuple[str, Facts]] = OrderedDict()
        self._lock = threading.Lock()

    def has_runs(self) -> bool:
        """Whether there is any event file."""
        return bool(self._look())

    def was_begun(self) -> bool:
        """Whether Trackbridge has written here, be it no run yet."""
        return (self._folder.path / ORIGIN / LOCK).exists()

    def list_runs(self, query: Query) -> Iterator[RunInfo]:
        for ref, run in self._look().items():
            if query.projects and ref.project not in query.projects:
                continue
            if query.run_ids and ref.run_id not in query.run_ids:
                continue
            info = _info(run)
            if not query.since or (info.started and info.started >= query.since):
                yield info

    def read_runs(
        self, refs: Sequence[RunRef], tables: Collection[str] | None = None
    ) -> Iterator[Batch]:
        wanted = set(TABLES) - SHARED if tables is None else set(tables)
        rows: dict[str, list[Row]] = defaultdict(list)
        for ref in refs:
            run = self._run(ref)
            if wanted.intersection(POINTS):
                yield from self._points(run, wanted, None)
            facts = self._known(run) if wanted else Facts()
            for table, found in _tables(run, facts).items():
                if table in wanted:
                    rows[table] += ({**row, **ref._asdict()} for row in found)
            if "files" in wanted and facts.files:
                yield from _files(ref, facts)
            if sum(map(len, rows.values())) >= GATHERED:
                yield from _emptied(rows)
        yield from _emptied(rows)

    def read_points(self, refs: Sequence[RunRef], excerpt: Excerpt) -> Iterator[Batch]:
        for ref in refs:
            yield from self._points(self._run(ref), ["metrics"], excerpt)

    def read_shared(self, query: Query) -> Iterator[Batch]:
        self._look()
        project = self._folder.project
        if self._folder.has_own and (not query.projects or project in query.projects):
            row = {"project": project, "deleted": False, "extra": _not_read(self._folder)}
            yield from batches("projects", [{**row, "source": shown(str(self._folder.path))}])

    def open_file(self, file: FileRef) -> BinaryIO:
        missing = NotFoundError(
            f"{self.address}: run {file.run.run_id} has no file"
            f" {'/'.join(filter(None, file[1:]))!r}"
        )
        with native_errors(self.address):
            content = self._content(file)
            if content is None:
                raise missing
            try:
                stream = content.file.open("rb")
            except FileNotFoundError as error:
                raise missing from error
            if content.size < 0:
                return stream
            with stream:
                stream.seek(content.offset)
                return BytesIO(stream.read(content.size))

    def _content(self, file: FileRef) -> Content | None:
        """Where the bytes of a file are; None where it is none of the run's."""
        if file.run == STORE:
            place = self._folder.path / ORIGIN / SHARED_FILE.rpartition("/")[2]
            return Content(place, 0, -1) if file[1:] == ("", SHARED_FILE) else None
        if file.run not in (self._runs or self._look()):
            return None
        run = self._run(file.run)
        if run.origin is not None:
            home = run.path / ORIGIN
            place = carried.place(home, file.owner, file.path)
            if place.is_file() and place.resolve().is_relative_to(home.resolve()):
                return Content(place, 0, -1)
        if file.owner:
            return None
        if file.path in run.others:
            return Content(run.others[file.path], 0, -1)
        return self._known(run).files.get(file.path)

    def _points(
        self, run: Run, wanted: Collection[str], excerpt: Excerpt | None
    ) -> Iterator[Batch]:
        sizes = {path: run.states[path][1] for path in run.events}
        scan = Scan(
            run.ref, run.events, sizes, wanted, excerpt, run.origin.tags if run.origin else {}
        )
        with native_errors(self.address):
            yield from scan.batches()
        for path, damage in scan.damage.items():
            name = shown(path.relative_to(run.path).as_posix())
            scan.facts.note_damage(name, _named(damage, sizes[path], run.is_growing(path)))
        files = scan.facts.event_files
        scan.facts.event_files = {shown(name): about for name, about in files.items()}
        self._keep(run, scan.facts)

    def _known(self, run: Run) -> Facts:
        """What the run's files say, read again where it is not known."""
        with self._lock:
            known = self._facts.get(run.ref)
        if known is None or known[0] != run.fingerprint:
            for _ in self._points(run, (), None):
                pass
            with self._lock:
                known = self._facts[run.ref]
        return known[1]

    def _keep(self, run: Run, facts: Facts) -> None:
        with self._lock:
            self._facts[run.ref] = run.fingerprint, facts
            self._facts.move_to_end(run.ref)
            while len(self._facts) > KEPT:
                self._facts.popitem(last=False)

    def _look(self) -> dict[RunRef, Run]:
        with native_errors(self.address):
            self._runs = self._folder.look()
        return self._runs

    def _run(self, ref: RunRef) -> Run:
        runs = self._runs
        if runs is None or ref not in runs:
            runs = self._look()
        if ref not in runs:
            raise NotFoundError(f"{self.address}: no run {ref.run_id!r} in project {ref.project!r}")
        return runs[ref]


def _not_read(folder: LogFolder) -> str | None:
    """The JSON of what is counted of a log folder; links that are not followed are named."""
    counts = {BESIDE: folder.beside} if folder.beside else {}
    for why, links in folder.links.items():
        more = ", ..." if len(links) > NAMED else ""
        counts[f"{why} ({', '.join(map(shown, links[:NAMED]))}{more})"] = len(links)
    return json.dumps({"not_read": counts}) if counts else None


def _emptied(rows: dict[str, list[Row]]) -> Iterator[Batch]:
    for table in list(rows):
        yield from batches(table, rows.pop(table))


def _files(ref: RunRef, facts: Facts) -> Iterator[Batch]:
    """The files that event files have in them, in columns: they may be as many as points are."""
    schema, found = TABLES["files"], facts.files.columns()
    known = {**{name: [text] * len(facts.files) for name, text in ref._asdict().items()}, **found}
    columns = [
        pa.array(known[field.name], field.type)
        if field.name in known
        else pa.nulls(len(facts.files), field.type)
        for field in schema
    ]
    yield from sliced("files", pa.RecordBatch.from_arrays(columns, schema=schema))


def _info(run: Run) -> RunInfo:
    told = Facts()
    for metadata in run.ends:
        told.note_tag("", metadata)
    points = sum(run.heads[path].size for path in run.events) // BYTES_PER_POINT
    if run.origin is not None:
        put = run.put
        return RunInfo(
            ref=run.ref,
            key=run.key,
            fingerprint=run.fingerprint,
            name=run.origin.row.get("name"),
            status=run.origin.row.get("status"),
            started=run.origin.row.get("started"),
            points=points,
            files=len(put),
            size=sum(file.size for file in put),
            carried=True,
            estimated=True,
        )
    return RunInfo(
        ref=run.ref,
        key=run.key,
        fingerprint=run.fingerprint,
        name=run.name,
        status=told.hparams.status,
        started=None if run.started is None else when(run.started),
        points=points,
        files=len(run.others),
        size=sum(run.heads[path].size for path in run.others.values()),
        estimated=True,
    )


def _named(damage: list[Damage], size: int, is_growing: bool) -> list[Damage]:
    """What is to be said of a file: a last record that is being written is no damage."""
    if is_growing and (not size or (damage and damage[-1].at_end)):
        return damage[:-1]
    if not size:
        return [Damage(0, "an empty file, without an event")]
    if len(damage) == 1 and damage[0].offset == 0 and damage[0].reason.endswith(f" {size} bytes"):
        return [Damage(0, f"no event file: none of its {size} bytes are a record")]
    return damage


def _tables(run: Run, facts: Facts) -> dict[str, list[Row]]:
    """The rows of small tables, without project and run."""
    started = None if run.started is None else when(run.started)
    ended = None if facts.ended is None else when(facts.ended)
    row = {
        "name": run.name,
        "status": facts.hparams.status,
        "started": started,
        "ended": ended if started is None or ended is None else max(started, ended),
        "group": facts.hparams.group,
        "host": run.host,
        "deleted": False,
        "source": shown(str(run.path)),
        "extra": facts.extra(),
    }
    others = [
        {"owner": "", "path": path, "size": run.heads[place].size}
        for path, place in run.others.items()
    ]
    others += [{"owner": file.owner, "path": file.path, "size": file.size} for file in run.put]
    if run.origin is not None:
        row = {**run.origin.row, "deleted": False, "source": shown(str(run.path))}
        row["extra"] = facts.with_damage(row.get("extra"))
    return {
        "runs": [row],
        "params": facts.hparams.params(),
        "metric_defs": facts.hparams.metric_defs(),
        "files": others,
    }
