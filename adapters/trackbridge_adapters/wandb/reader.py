"""Reads W&B run folders."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from trackbridge.adapter import (
    SHARED_FILE,
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
from trackbridge.disk import native_errors
from trackbridge.errors import NotFoundError
from trackbridge.schema import SHARED, TABLES
from trackbridge_adapters.wandb import secondary, tables
from trackbridge_adapters.wandb.artifacts import Staging, Version, versions
from trackbridge_adapters.wandb.finding import OFFLINE
from trackbridge_adapters.wandb.folders import Folder, Run, exit_record, find_runs
from trackbridge_adapters.wandb.points import TIMES
from trackbridge_adapters.wandb.runfiles import FOLDER, RunFile, own_file, run_files
from trackbridge_adapters.wandb.scan import Scan
from trackbridge_adapters.wandb.secondary import Told

GATHERED = 5000
"""Rows of small tables that are gathered over runs before they are given."""
KEPT = 1000
"""Runs whose lists of files are remembered between reading and opening them."""
BYTES_PER_POINT = 60
"""Of a `.wandb` file, roughly: from 25 in wide calls to over 100 where each has a summary."""

CAPABILITIES = Capabilities(
    holds={
        "runs": (
            *("name", "status", "started", "ended", "user", "group", "job_type", "sweep_id"),
            *("notes", "host", "program", "git_remote", "git_commit", "python", "source", "extra"),
        ),
        "params": ("key", "path", "value", "type"),
        "tags": ("key",),
        "metrics": ("key", "step", "time", "row", "value", "system"),
        "series": ("key", "step", "time", "row", "kind", "value", "path"),
        "metric_defs": ("key", "glob", "x_axis", "summary", "goal", "hidden", "extra"),
        "summary": ("key", "path", "value", "type"),
        "logs": ("stream", "line", "time", "text"),
        "alerts": ("title", "level", "definition"),
        "inputs": ("name", "kind", "extra"),
        "artifacts": (
            *("collection", "kind", "version", "aliases", "digest", "direction"),
            *("description", "metadata", "extra"),
        ),
        "files": ("owner", "path", "size", "sha256", "media_type", "reference", "extra"),
    },
    nan=True,
    largest=None,
    signed_zero=True,
    nul=True,
    rows=True,
    times=TIMES,
    parallel_writers=True,
)


class Contents(NamedTuple):
    """The files of a run: its own, and those of its artifacts by owner."""

    own: list[RunFile]
    versions: list[Version]
    staging: Staging


class RunFolders:
    """A folder of run folders, for reading."""

    capabilities = CAPABILITIES

    def __init__(self, location: str) -> None:
        self.address = f"wandb-files:{location}"
        self._location = Path(location)
        self._known: dict[RunRef, Run] | None = None
        self._folders: dict[Path, Folder] = {}
        self._contents: dict[RunRef, Contents] = {}

    def list_runs(self, query: Query) -> Iterator[RunInfo]:
        self._forget()
        for ref, run in self._runs().items():
            if query.projects and ref.project not in query.projects:
                continue
            if query.run_ids and ref.run_id not in query.run_ids:
                continue
            with native_errors(self.address, "read"):
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
            with native_errors(self.address, "read"):
                scan = Scan(run, ref, wanted)
                yield from scan.batches()
                contents = self._keep(ref, _contents(run, scan))
                for table, found in _tables(run, scan, contents).items():
                    if table in wanted:
                        rows[table] += ({**row, **ref._asdict()} for row in found)
            if sum(map(len, rows.values())) >= GATHERED:
                yield from _emptied(rows)
        yield from _emptied(rows)

    def read_shared(self, query: Query) -> Iterator[Batch]:
        return iter(())

    def open_file(self, file: FileRef) -> BinaryIO:
        place = self._place(file)
        what = f"run {file.run.run_id} has no file {'/'.join(filter(None, file[1:]))!r}"
        if place is None:
            raise NotFoundError(f"{self.address}: {what}")
        try:
            return place.open("rb")
        except OSError as error:
            raise NotFoundError(f"{self.address}: {what}: {error.strerror}") from error

    def _place(self, file: FileRef) -> Path | None:
        if file.run == STORE:
            return own_file(self._location, SHARED_FILE) if file[1:] == ("", SHARED_FILE) else None
        run = self._run(file.run)
        if run.carried and file[1:] == ("", SIDECAR):
            folders = (folder.path / FOLDER for folder in reversed(run.folders))
            return next(filter(None, (own_file(folder, SIDECAR) for folder in folders)), None)
        return _place(self._contents_of(run), file)

    def _forget(self) -> None:
        self._known = None
        self._contents.clear()

    def _runs(self) -> dict[RunRef, Run]:
        if self._known is None:
            with native_errors(self.address, "read"):
                found = find_runs(self._location, self._folders)
                self._known = {run.ref: run for run in found}
        return self._known

    def _run(self, ref: RunRef) -> Run:
        if ref not in self._runs():
            self._forget()
        if ref not in self._runs():
            raise NotFoundError(f"{self.address}: no run {ref.run_id!r} in project {ref.project!r}")
        return self._runs()[ref]

    def _contents_of(self, run: Run) -> Contents:
        if run.ref not in self._contents:
            scan = Scan(run, run.ref, {"files"})
            with native_errors(self.address, "read"):
                for _ in scan.batches():
                    pass
                self._keep(run.ref, _contents(run, scan))
        return self._contents[run.ref]

    def _keep(self, ref: RunRef, contents: Contents) -> Contents:
        self._contents.pop(ref, None)
        if len(self._contents) >= KEPT:
            del self._contents[next(iter(self._contents))]
        self._contents[ref] = contents
        return contents


def _emptied(rows: dict[str, list[Row]]) -> Iterator[Batch]:
    """The gathered rows of small tables, which are then no longer there."""
    for table in list(rows):
        yield from batches(table, rows.pop(table))


def _info(run: Run) -> RunInfo:
    files = [file for folder in run.folders for file in folder.files()]
    first, last = run.folders[0].facts, run.folders[-1].facts
    last.exit = exit_record(run.folders[-1].wandb) if run.folders[-1].wandb else None
    row = tables.run_row(last)
    framed = sum(f.wandb.stat().st_size for f in run.folders if f.wandb is not None)
    return RunInfo(
        ref=run.ref,
        key=run.key,
        fingerprint=run.fingerprint([*files, *run.staged()]),
        name=row["name"] or first.run.display_name or None,
        status=row["status"],
        started=tables.run_row(first)["started"],
        points=framed // BYTES_PER_POINT,
        estimated=True,
        files=sum(file.path.startswith("files/") for file in files),
        size=sum(file.size for file in files),
        carried=run.carried,
    )


def _contents(run: Run, scan: Scan) -> Contents:
    staging = Staging(folder.path for folder in run.folders)
    found = versions(scan.facts.artifacts, staging, scan.damage)
    return Contents(run_files(run, scan.facts), found, staging)


def _place(contents: Contents, file: FileRef) -> Path | None:
    if not file.owner:
        return next((own.place for own in contents.own if own.path == file.path), None)
    for version in contents.versions:
        if version.owner == file.owner:
            for entry in version.entries:
                if entry.path == file.path and not entry.ref:
                    return contents.staging.place_of(entry)
    return None


def _missing(run: Run, contents: Contents) -> Iterator[str]:
    """Damage: files whose bytes are not there, and are not on the server either."""
    for file in contents.own:
        if file.damage:
            yield f"files/{file.path}: {file.damage}"
    if not run.folders[-1].path.name.startswith(OFFLINE):
        return  # an online run's artifacts were uploaded, and their bytes removed
    for version in contents.versions:
        for entry in version.entries:
            if not entry.ref and contents.staging.place_of(entry) is None:
                yield f"artifact {version.owner}: the bytes of {entry.path!r} are missing"


def _tables(run: Run, scan: Scan, contents: Contents) -> dict[str, list[Row]]:
    """The small tables of a run, after its records have been read."""
    known, damage = scan.facts, scan.damage
    told = Told() if known.origin() else secondary.read(contents.own, damage)
    secondary.complete(known, told)
    damage += _missing(run, contents)
    found = tables.small_tables(known, contents.versions)
    [row] = found["runs"]
    row.update((name, value) for name, value in told.run.items() if row[name] is None)
    extra = tables.run_extra(known)
    if damage:
        extra |= {"damage": damage, "incomplete": True}
    row.update(source=str(run.folders[-1].path), extra=tables.compact(extra))
    found["files"] = [
        *({"owner": "", "path": file.path, "size": file.size} for file in contents.own),
        *tables.file_rows(contents.versions),
    ]
    return found
