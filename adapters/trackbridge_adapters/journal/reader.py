"""Reads the journals of training runs, also while they are written."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from trackbridge.adapter import Batch, Capabilities, FileRef, Query, RunInfo, RunRef
from trackbridge.columns import batches
from trackbridge.disk import native_errors
from trackbridge.dual import frames, scanning
from trackbridge.errors import NotFoundError
from trackbridge.schema import POINTS, SHARED, TABLES
from trackbridge_adapters.journal.facts import Facts, changed_tables, labelled
from trackbridge_adapters.journal.folders import File, Folder, opened, run_folders
from trackbridge_adapters.journal.points import Decoder, Ints, Rows, same

AT_ONCE = 1 << 20
"""Values that `read_added` gives at most, about."""
CAPABILITIES = Capabilities(
    holds={
        "runs": (
            *("name", "status", "started", "ended", "user", "parent_run_id", "group", "job_type"),
            *("sweep_id", "notes", "host", "program", "git_remote", "git_commit", "python"),
            *("deleted", "source", "extra"),
        ),
        **{
            table: tuple(name for name in TABLES[table].names if name not in ("project", "run_id"))
            for table in TABLES
            if table not in SHARED and table != "runs"
        },
    },
    nan=True,
    largest=None,
    signed_zero=True,
    nul=True,
    gaps=True,
    repeated_points=True,
    parallel_files=True,
)


class Journals:
    """A folder of runs' folders, for reading."""

    capabilities = CAPABILITIES

    def __init__(self, location: str) -> None:
        self.address = f"journal:{location}"
        self._location = Path(location)
        self._folders: dict[Path, Folder] = {}
        self._found: dict[RunRef, Folder] = {}
        """As `_look` saw them last."""
        self._facts = _Facts()

    def list_runs(self, query: Query) -> Iterator[RunInfo]:
        for ref, folder in self._look().items():
            if query.projects and ref.project not in query.projects:
                continue
            if query.run_ids and ref.run_id not in query.run_ids:
                continue
            info = _info(ref, folder)
            if info.deleted and not query.include_deleted:
                continue
            if not query.since or (info.started and info.started >= query.since):
                yield info

    def read_runs(
        self, refs: Sequence[RunRef], tables: Collection[str] | None = None
    ) -> Iterator[Batch]:
        wanted = set(TABLES) if tables is None else set(tables)
        for ref in refs:
            folder = self._folder(ref)
            with native_errors(self.address):
                if wanted.intersection(POINTS):
                    yield from (b for b in _points(ref, folder) if b.table in wanted)
            yield from self._small(ref, folder, wanted)

    def read_shared(self, query: Query) -> Iterator[Batch]:
        return iter(())

    def open_file(self, file: FileRef) -> BinaryIO:
        missing = NotFoundError(
            f"{self.address}: run {file.run.run_id} has no file"
            f" {'/'.join(filter(None, file[1:]))!r}"
        )
        path = self._content(file, self._found) or self._content(file, self._look())
        if path is None:
            raise missing
        with native_errors(self.address):
            return path.open("rb")

    def _content(self, file: FileRef, known: Mapping[RunRef, Folder]) -> Path | None:
        if (folder := known.get(file.run)) is None:
            return None
        sha256 = self._facts.of(folder).digest(file)
        return folder.content(sha256) if sha256 else None

    def read_added(
        self, ref: RunRef, position: str, *, whole_rows: bool = False
    ) -> tuple[list[Batch], str]:
        """See `optional.Growing`. Of calls whose processes run at once, `row` is not given."""
        before = json.loads(position) if position else {}
        folder = self._folder(ref)
        growing = folder.files[-1] if whole_rows and not folder.is_mixed else None
        added = _Added(ref, folder, before, growing)
        with native_errors(self.address):
            found = [batch for file in folder.files for batch in added.of(file)]
        if changed := changed_tables(added.records):
            found += self._small(ref, folder, changed)
        return found, json.dumps(added.position)

    def _small(self, ref: RunRef, folder: Folder, wanted: Collection[str]) -> Iterator[Batch]:
        facts = Facts(folder.records())
        facts.damage += damage(folder, facts)
        for table, rows in facts.tables().items():
            if table in wanted:
                yield from batches(table, labelled(rows, ref))

    def _folder(self, ref: RunRef) -> Folder:
        known = self._look()
        if ref not in known:
            raise NotFoundError(f"{self.address}: no run {ref.run_id!r} in project {ref.project!r}")
        return known[ref]

    def _look(self) -> dict[RunRef, Folder]:
        """Every run as it is now; of each file only what came since is read."""
        with native_errors(self.address):
            paths = run_folders(self._location)
            self._folders = {path: self._folders.get(path) or Folder(path) for path in paths}
            for folder in self._folders.values():
                folder.look()
        found: dict[RunRef, Folder] = {}
        for folder in self._folders.values():
            if (ref := folder.ref) is not None:
                found[ref] = found[ref].joined(folder) if ref in found else folder
        self._found = dict(sorted(found.items(), key=lambda item: item[0]))
        return self._found


class _Facts:
    """What the records of the run say that was asked for last: one after the other is read."""

    def __init__(self) -> None:
        self._known: tuple[object, Facts] | None = None

    def of(self, folder: Folder) -> Facts:
        state = folder.paths, folder.fingerprint
        known = self._known
        if known is None or known[0] != state:
            known = self._known = state, Facts(folder.records())
        return known[1]


class _Added:
    """What came to a run since a position."""

    def __init__(
        self, ref: RunRef, folder: Folder, before: dict[str, int], growing: File | None
    ) -> None:
        """Of the file that is `growing`, the last row is not given before it is whole."""
        self._ref, self._rows = ref, _no_rows if folder.is_mixed else same
        self._growing = growing
        self.position = dict(before)
        self.records: list[dict[str, Any]] = []
        self._left = AT_ONCE

    def of(self, file: File) -> Iterator[Batch]:
        start = self.position.get(file.path.name, 0)
        if start >= file.stop or self._left <= 0:
            return
        decoder = Decoder(self._ref, self._rows, file.keys)
        with opened(file.path, file.stop) as data:
            for window in scanning.scan(data, start, decoder.keys):
                self._left -= len(window)
                is_last = self._left <= 0 or window.stop >= file.stop
                stop = window.stop
                if is_last and file is self._growing:
                    stop = decoder.open_row(data, window) or stop
                yield from decoder.batches(data, window.until(stop))
                self.records += window.records
                self.position[file.path.name] = stop
                if is_last:
                    return


def _no_rows(rows: Ints) -> Ints:
    return np.full(len(rows), frames.NONE)


def _info(ref: RunRef, folder: Folder) -> RunInfo:
    facts = Facts(folder.records())
    tables = facts.tables()
    [row] = tables["runs"]
    return RunInfo(
        ref=ref,
        key=folder.key,
        fingerprint=folder.fingerprint,
        name=row.get("name"),
        status=row["status"],
        started=row.get("started"),
        points=sum(file.points for file in folder.files),
        files=len(tables["files"]),
        size=sum(file.get("size") or 0 for file in tables["files"]),
        deleted=row["deleted"],
    )


def damage(folder: Folder, facts: Facts) -> Iterator[str]:
    """What is not readable of a run, or not there."""
    for file in folder.files:
        for start, stop in file.gaps:
            yield f"{file.path.name}: {stop - start} bytes at {start} are no record"
        over = file.size - file.stop
        if over and (facts.ended or file is not folder.files[-1]):
            yield f"{file.path.name}: ends in the middle of a record, {over} bytes at {file.stop}"
    for row in facts.tables()["files"]:
        sha256 = row.get("sha256")
        if sha256 and not folder.content(sha256):
            yield f"the bytes of {row['path']!r} are missing"


def _points(ref: RunRef, folder: Folder) -> Iterator[Batch]:
    """Metrics and series of a run, file by file."""
    numbered = _numbered(ref, folder) if folder.is_mixed else {}
    for file in folder.files:
        decoder = Decoder(ref, numbered.get(file.session, same), whole=folder.whole(file.session))
        with opened(file.path, file.stop) as data:
            for window in scanning.scan(data, keys=decoder.keys):
                yield from decoder.batches(data, window)


def _numbered(ref: RunRef, folder: Folder) -> dict[str, Rows]:
    """Rows of each process as rows of the run: calls of several that ran at once, by their time."""
    spans: list[tuple[str, Ints, Ints]] = []
    for files in folder.sessions:
        decoder, parts = Decoder(ref), []
        for file in files:
            with opened(file.path, file.stop) as data:
                parts += [decoder.calls(data, window) for window in scanning.scan(data)]
        rows = np.concatenate([np.zeros(0, np.int64), *(row for row, _ in parts)])
        times = np.concatenate([np.zeros(0, np.int64), *(time for _, time in parts)])
        own, first = np.unique(rows[rows != frames.NONE], return_index=True)
        began = np.maximum.accumulate(times[rows != frames.NONE][first])
        spans.append((files[0].session, own, began + files[0].ahead))
    every = np.concatenate([began for _, _, began in spans])
    process = np.repeat(np.arange(len(spans)), [len(own) for _, own, _ in spans])
    order = np.lexsort((np.arange(len(every)), process, every))
    place_of = np.empty(len(every), np.int64)
    place_of[order] = np.arange(len(every))
    edges = np.cumsum([0, *(len(own) for _, own, _ in spans)])
    return {
        session: _Lookup(own, place_of[edges[index] : edges[index + 1]])
        for index, (session, own, _) in enumerate(spans)
    }


class _Lookup:
    """Maps the rows of a process, which are sorted, to rows of the run."""

    def __init__(self, own: Ints, numbers: Ints) -> None:
        self._own, self._numbers = own, numbers

    def __call__(self, rows: Ints) -> Ints:
        at = np.searchsorted(self._own, rows).clip(max=max(len(self._own) - 1, 0))
        return self._numbers[at] if len(self._own) else rows
