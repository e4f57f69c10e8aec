"""Reads a folder with one file for each table of the run model."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa

from trackbridge.adapter import (
    STORE,
    Batch,
    Capabilities,
    FileRef,
    ItemRef,
    Query,
    RunInfo,
    RunKey,
    RunRef,
)
from trackbridge.columns import codes, within
from trackbridge.errors import IntegrityError, NotFoundError
from trackbridge.folder import storage_errors
from trackbridge.optional import Excerpt
from trackbridge.schema import SHARED, TABLES
from trackbridge.times import moment
from trackbridge_adapters.tables.blocks import cut
from trackbridge_adapters.tables.emit import CONTENTS, ORIGINS, header, parse
from trackbridge_adapters.tables.layout import COMMIT, WRITING, Commit, Part, load, place_of


class Origin(NamedTuple):
    """What `origins` says of a run, and in which chunk it is."""

    key: RunKey
    fingerprint: str
    points: int
    files: int
    size: int
    chunk: int


class _Shown(NamedTuple):
    """What a listing needs of a row of the table runs."""

    name: str | None = None
    status: str | None = None
    started: datetime | None = None
    deleted: bool | None = None


class StoredReader:
    """Such a folder, for reading."""

    capabilities = Capabilities.everything(parallel_files=True)

    def __init__(self, location: str, scheme: str) -> None:
        self.address = f"{scheme}:{location}"
        self.root, self.scheme = Path(location), scheme
        self._state: bytes | None = None
        self.commit = Commit(scheme)
        self.origins: dict[RunRef, Origin] = {}
        self._contents: tuple[int, dict[FileRef, tuple[str, int]]] = -1, {}

    def refresh(self) -> None:
        """Learn what is there now."""
        try:
            state = (self.root / COMMIT).read_bytes()
        except OSError:
            state = b""
        if state == self._state:
            return
        self.commit = load(self.root, self.scheme) if state else Commit(self.scheme)
        self._contents = -1, {}
        self.origins = dict(self._read_origins())
        self._state = state

    def list_runs(self, query: Query) -> Iterator[RunInfo]:
        self.refresh()
        touched = self._touched()
        shown = self._shown()
        for ref, origin in sorted(self.origins.items()):
            name, status, started, deleted = shown.get(ref, _Shown())
            if (
                (not query.projects or ref.project in query.projects)
                and (not query.run_ids or ref.run_id in query.run_ids)
                and (not query.since or (started and started >= query.since))
                and (query.include_deleted or not deleted)
            ):
                yield RunInfo(
                    ref,
                    origin.key,
                    origin.fingerprint + touched,
                    name,
                    status,
                    started,
                    origin.points,
                    origin.files,
                    origin.size,
                    carried=True,
                    deleted=bool(deleted),
                )

    def read_runs(
        self, refs: Sequence[RunRef], tables: Collection[str] | None = None
    ) -> Iterator[Batch]:
        self._refuse_missing(refs)
        for table in TABLES:
            if table not in SHARED and (tables is None or table in tables):
                yield from (Batch(table, data) for data in self.rows(table, refs))

    def read_points(self, refs: Sequence[RunRef], excerpt: Excerpt) -> Iterator[Batch]:
        self._refuse_missing(refs)
        for data in self.rows("metrics", refs):
            found = within(data, excerpt)
            if found.num_rows:
                yield Batch("metrics", found)

    def read_shared(self, query: Query) -> Iterator[Batch]:
        self.refresh()
        for table in sorted(self.commit.shared):
            for data in self.shared_rows(table):
                rows = [
                    row
                    for row in data.to_pylist()
                    if (
                        not query.projects
                        or "project" not in row
                        or row["project"] in query.projects
                    )
                    and (query.include_deleted or not row.get("deleted"))
                ]
                yield Batch(table, pa.RecordBatch.from_pylist(rows, schema=TABLES[table]))

    def open_file(self, file: FileRef) -> BinaryIO:
        self.refresh()
        found = None
        if file.run == STORE:
            found = None if ItemRef.of(file) else self.commit.files.get(file.path)
        elif file.run in self.origins:
            found = self.contents(self.origins[file.run].chunk).get(file)
        if found is None:
            raise NotFoundError(
                f"{self.address}: run {file.run.run_id!r} has no file {file.path!r}"
            )
        place = self._inside(found[0])
        with storage_errors(str(place), passing=False):
            there = place.stat().st_size
            if there != found[1]:
                raise IntegrityError(f"{place} is damaged: {there} bytes, not {found[1]}")
            return place.open("rb")

    def contents(self, chunk: int) -> dict[FileRef, tuple[str, int]]:
        """Where the bytes of the files of a chunk lie, and how many."""
        if self._contents[0] != chunk:
            part = self.commit.chunks[chunk].parts.get(CONTENTS)
            found = {}
            for data in self._part(CONTENTS, part) if part else ():
                for row in data.to_pylist():
                    ref = RunRef(row["project"], row["run_id"])
                    found[FileRef(ref, row["owner"], row["path"])] = row["stored"], row["size"]
            self._contents = chunk, found
        return self._contents[1]

    def rows(self, table: str, refs: Collection[RunRef]) -> Iterator[pa.RecordBatch]:
        """The rows of a table that belong to some runs."""
        wanted: dict[int, set[RunRef]] = {}
        for ref in refs:
            wanted.setdefault(self.origins[ref].chunk, set()).add(ref)
        if wanted and self._is_touched(table):
            yield from _chosen(self._lenient(table), set(refs))
            return
        for number, some in sorted(wanted.items()):
            chunk = self.commit.chunks[number]
            if table in chunk.parts:
                data = self._part(table, chunk.parts[table])
                yield from data if len(some) == chunk.runs else _chosen(data, some)

    def shared_rows(self, table: str) -> Iterator[pa.RecordBatch]:
        """All rows of a shared table."""
        part = self.commit.shared.get(table)
        if part is None:
            return
        yield from self._lenient(table) if self._is_touched(table) else self._part(table, part)

    def living(self, number: int) -> set[RunRef]:
        """The runs of a chunk."""
        return {ref for ref, origin in self.origins.items() if origin.chunk == number}

    def part_rows(
        self, table: str, part: Part, refs: Collection[RunRef]
    ) -> Iterator[pa.RecordBatch]:
        """The rows of some runs in a part."""
        yield from _chosen(self._part(table, part), refs)

    def part_bytes(self, table: str, part: Part) -> Iterator[bytes]:
        """The bytes of a part, in blocks of whole rows; `IntegrityError` at its end if damaged."""
        place = place_of(self.root, self.commit, table)
        digest = hashlib.sha256()
        with storage_errors(str(place), passing=False), place.open("rb") as file:
            stop = part.offset + part.size
            for _, data in cut(file, part.offset, 0, quoted=self.scheme == "csv", stop=stop):
                digest.update(data)
                yield data
        if digest.hexdigest() != part.sha256:
            raise IntegrityError(f"{place} is damaged: not the bytes that were written; restore it")

    def _part(self, table: str, part: Part) -> Iterator[pa.RecordBatch]:
        where = str(place_of(self.root, self.commit, table))
        for data in self.part_bytes(table, part):
            yield from parse(data, table, self.scheme, where)

    def _lenient(self, table: str) -> Iterator[pa.RecordBatch]:
        """The rows of a table that was changed by others, wherever in it they are now."""
        place = place_of(self.root, self.commit, table)
        start = len(header(table, self.scheme))
        with storage_errors(str(place), passing=False), place.open("rb") as file:
            for _, data in cut(file, start, 0, quoted=self.scheme == "csv"):
                yield from parse(data, table, self.scheme, str(place))

    def _is_touched(self, table: str) -> bool:
        """Whether the file of a table is another one than the commit speaks of."""
        place = place_of(self.root, self.commit, table)
        with storage_errors(str(place), passing=False):
            return table in self.commit.sizes and self._state_of(place, table) != ""

    def _state_of(self, place: Path, table: str) -> str:
        there, committed = place.stat(), (self.root / COMMIT).stat()
        if (self.root / WRITING).exists():  # what is beyond the commit is a writer's
            return ""
        if there.st_size >= self.commit.sizes[table] and there.st_mtime_ns <= committed.st_mtime_ns:
            return ""
        return f"{table} {there.st_size} {there.st_mtime_ns}\n"

    def _touched(self) -> str:
        """Another text for each state that others have put the tables in; empty for ours."""
        states = []
        for table in sorted(self.commit.sizes):
            place = place_of(self.root, self.commit, table)
            try:
                states.append(self._state_of(place, table))
            except FileNotFoundError:
                states.append(f"{table} missing\n")
        text = "".join(states)
        return f"-{hashlib.sha256(text.encode()).hexdigest()[:16]}" if text else ""

    def _read_origins(self) -> Iterator[tuple[RunRef, Origin]]:
        for number, chunk in enumerate(self.commit.chunks):
            part = chunk.parts.get(ORIGINS)
            for data in self._part(ORIGINS, part) if part else ():
                for row in data.to_pylist():
                    if None in row.values():
                        raise IntegrityError(f"{self.address}: {ORIGINS} is damaged; restore it")
                    key = RunKey.parse(row["key"])
                    known = (row["fingerprint"], row["points"], row["files"], row["bytes"])
                    yield RunRef(row["project"], row["run_id"]), Origin(key, *known, number)

    def _shown(self) -> Mapping[RunRef, _Shown]:
        """Name, status, start and mark of each run."""
        found = {}
        for data in self.rows("runs", self.origins):
            columns = [data.column(name) for name in ("project", "run_id", *_Shown._fields)]
            columns[4] = columns[4].cast(pa.int64())
            for project, run_id, *shown in zip(*(column.to_pylist() for column in columns)):
                shown[2] = moment(shown[2])
                found[RunRef(project, run_id)] = _Shown(*shown)
        return found

    def _refuse_missing(self, refs: Sequence[RunRef]) -> None:
        self.refresh()
        for ref in refs:
            if ref not in self.origins:
                raise NotFoundError(
                    f"{self.address}: no run {ref.run_id!r} in project {ref.project!r}"
                )

    def _inside(self, stored: str) -> Path:
        """Where bytes lie, by a name in the folder of files."""
        name = Path(stored).name
        if not name or name in (".", ".."):
            raise IntegrityError(f"{self.address}: {stored!a} is no name of a file")
        place = self.root / "files" / name
        if place.is_symlink():
            raise IntegrityError(f"{place} is a link: a folder of tables has none; remove it")
        return place


def _chosen(
    batches: Iterator[pa.RecordBatch], refs: Collection[RunRef]
) -> Iterator[pa.RecordBatch]:
    """The rows of some runs."""
    for data in batches:
        keep = np.zeros(data.num_rows, bool)
        project, run = (_coded(data.column(name)) for name in ("project", "run_id"))
        names = [column.dictionary.to_pylist() for column in (project, run)]
        wanted = np.zeros((len(names[0]) + 1, len(names[1]) + 1), bool)
        places = [{text: row for row, text in enumerate(texts)} for texts in names]
        for ref in refs:
            if ref.project in places[0] and ref.run_id in places[1]:
                wanted[places[0][ref.project], places[1][ref.run_id]] = True
        keep = wanted[codes(project), codes(run)]
        found = data if keep.all() else data.filter(pa.array(keep))
        if found.num_rows:
            yield found


def _coded(column: pa.Array) -> pa.DictionaryArray:
    return column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
