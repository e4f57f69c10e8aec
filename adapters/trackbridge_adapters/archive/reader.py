"""Reads an archive: runs by their ids, going through no more Parquet files than hold them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa

from trackbridge.adapter import (
    STORE,
    Batch,
    Capabilities,
    FileRef,
    ItemRef,
    Query,
    RunInfo,
    RunRef,
)
from trackbridge.audit import bag
from trackbridge.errors import IntegrityError, NotFoundError, TransientError
from trackbridge.folder import UNTOLD, Folder
from trackbridge.optional import Excerpt, ItemInfo
from trackbridge.schema import BATCH_ROWS, ITEM_FILES, ITEM_TABLES, ITEMS, NAMED_BY, SHARED, TABLES
from trackbridge_adapters.archive.chunks import Chunk, Entry, Home, Index, Part
from trackbridge_adapters.archive.parts import CONTENTS, EVERY_POINT, GROUP_ROWS, read_part, sha256

if TYPE_CHECKING:
    from typing_extensions import Buffer


Files = dict[FileRef, tuple[str, int]]
"""Digest and size of the bytes of each file of a chunk."""


class ArchiveReader:
    """An archive, for reading."""

    capabilities = Capabilities.everything(parallel_writers=True, items=tuple(ITEMS))

    def __init__(self, folder: Folder) -> None:
        self.capabilities = replace(type(self).capabilities, parallel_files=folder.parallel)
        self.address = f"archive:{folder.address}"
        self.folder = folder
        self.index = Index(folder)
        self._proven: set[str] = set()
        self._files: tuple[str, Files] = "", {}

    def list_runs(self, query: Query) -> Iterator[RunInfo]:
        meant = self._meant(query)
        harm = self._harm(meant)
        if harm:  # or a chunk was replaced meanwhile
            meant = self._meant(query)
            harm = self._harm(meant)
        for home in meant:
            yield _marked(home.entry, harm.get(home.chunk.name, ""))

    def _meant(self, query: Query) -> list[Home]:
        """Where the runs live that a query means, in their order."""
        self.index.refresh()
        homes = sorted(self.index.homes.items(), key=lambda item: item[0])
        return [home for _, home in homes if _means(query, home.entry)]

    def _harm(self, homes: Iterable[Home]) -> dict[str, str]:
        """By chunk: which of its parts are not there, or not as large as the commit says.

        Takes a listing for each table, however many chunks there are.
        """
        chunks = {home.chunk.name: home.chunk for home in homes}
        tables = {table for chunk in chunks.values() for table in chunk.tables}
        there: dict[str, int] = {}
        for table in sorted(tables):
            there |= self.folder.sizes(f"data/{table}")
        harm = {name: "".join(_unlike(chunk, there)) for name, chunk in chunks.items()}
        return {name: text for name, text in harm.items() if text}

    def read_runs(
        self, refs: Sequence[RunRef], tables: Collection[str] | None = None
    ) -> Iterator[Batch]:
        for chunk, inside in self._where(refs):
            for table in TABLES:
                if table in chunk.tables and (tables is None or table in tables):
                    for data in self.rows(chunk, table, inside):
                        yield Batch(table, data)

    def read_points(self, refs: Sequence[RunRef], excerpt: Excerpt) -> Iterator[Batch]:
        for chunk, inside in self._where(refs):
            if "metrics" in chunk.tables:
                for data in self.rows(chunk, "metrics", inside, excerpt):
                    yield Batch("metrics", data)

    def split(self, info: RunInfo, points: int) -> Sequence[str]:
        """Row groups of the files of metrics: file, its digest, first and last one."""
        self.index.refresh()
        files = self._home(info.ref).files_of("metrics")
        width = max(1, points // GROUP_ROWS)
        return [
            f"{number}-{part.sha256}-{first}-{first + width}"
            for number, (_, part) in enumerate(files)
            for first in range(0, -(-part.rows // GROUP_ROWS), width)
        ]

    def read_piece(self, ref: RunRef, piece: str) -> Iterator[Batch]:
        number, digest, first, end = piece.split("-")
        groups = range(int(first), int(end))
        for chunk, inside in self._where([ref]):
            for place, (path, part) in enumerate(chunk.files_of("metrics")):
                if (str(place), part.sha256) != (number, digest):
                    continue
                with self._opened(chunk, path, part) as local:
                    for data in read_part(local, "metrics", inside, groups=groups):
                        yield Batch("metrics", data)

    def read_rest(self, ref: RunRef, *, sound: bool) -> Iterator[Batch]:
        yield from self.read_runs([ref], TABLES.keys() - {"metrics"})

    def _where(self, refs: Sequence[RunRef]) -> list[tuple[Chunk, set[RunRef] | None]]:
        """The chunks that runs live in, each with those that are meant, or None for all of it."""
        self.index.refresh()
        wanted: dict[str, set[RunRef]] = {}
        for ref in refs:
            wanted.setdefault(self._home(ref).name, set()).add(ref)
        chunks = [(self.index.chunks[name], inside) for name, inside in wanted.items()]
        return [(c, None if len(runs) == len(c.entries) else runs) for c, runs in chunks]

    def read_shared(self, query: Query) -> Iterator[Batch]:
        self.index.refresh()
        chunks = self.index.shared()
        for table in sorted(SHARED):
            parts = [d for c in chunks if table in c.parts for d in self.rows(c, table, None)]
            rows = _last_of_each_name(pa.Table.from_batches(parts, TABLES[table]), table)
            if query.projects and "project" in rows.column_names:
                rows = rows.filter(pa.compute.field("project").isin(list(query.projects)))
            if table == "projects" and not query.include_deleted:
                gone = pa.compute.fill_null(rows.column("deleted"), False)
                rows = rows.filter(pa.compute.invert(gone))
            for data in rows.to_batches(max_chunksize=BATCH_ROWS):
                yield Batch(table, data)

    def list_items(
        self, kind: str, query: Query, ids: Collection[str] | None = None
    ) -> Iterator[ItemInfo]:
        self.index.refresh()
        gone = set() if query.include_deleted else self._deleted_projects()
        named = None if ids is None else set(ids)
        for ref, home in sorted(self.index.item_homes.items(), key=lambda item: item[0]):
            asked = ref.kind == kind and (named is None or ref.id in named)
            if asked and ref.project not in gone and _means_item(query, home.info):
                yield home.info

    def _deleted_projects(self) -> set[str]:
        rows = [r for b in self.read_shared(Query()) for r in b.data.to_pylist()]
        return {row["project"] for row in rows if row.get("deleted")}

    def read_items(self, refs: Sequence[ItemRef]) -> Iterator[Batch]:
        self.index.refresh()
        wanted: dict[str, set[ItemRef]] = {}
        for ref in refs:
            if ref in self.index.item_homes:
                wanted.setdefault(self.index.item_homes[ref].chunk.name, set()).add(ref)
        kind = refs[0].kind if refs else ""
        tables = [kind, *ITEMS[kind].parts, ITEM_FILES] if refs else []
        for name, inside in wanted.items():
            chunk = self.index.chunks[name]
            for table in tables:
                if table in chunk.parts:
                    for data in self.rows(chunk, table, inside):
                        yield Batch(table, data)

    def not_read(self, query: Query) -> Mapping[str, int]:
        return {}

    def open_file(self, file: FileRef) -> BinaryIO:
        for chunk in self._chunks_of(file):
            if CONTENTS in chunk.parts and file in self._contents(chunk):
                return self._open_content(*self._contents(chunk)[file], file)
        raise NotFoundError(f"{self.address}: run {file.run.run_id} has no file {file.path!r}")

    def url(self, file: FileRef) -> str | None:
        """By which anybody who reaches the archive fetches the bytes; None: they are not in it."""
        for chunk in self._chunks_of(file):
            if CONTENTS in chunk.parts and file in self._contents(chunk):
                return self.folder.url(content_path(self._contents(chunk)[file][0]))
        return None

    def _chunks_of(self, file: FileRef) -> list[Chunk]:
        """Where a file of a run, an item or the store may be: the one that wins first."""
        item = ItemRef.of(file)
        if item is not None:
            home = self.index.item_homes.get(item)
            return [home.chunk] if home else []
        if file.run != STORE:
            return [self._home(file.run)]
        self.index.refresh()
        return self.index.shared()[::-1]

    def _home(self, ref: RunRef) -> Chunk:
        if ref not in self.index.homes:
            self.index.refresh()
        if ref not in self.index.homes:
            raise NotFoundError(f"{self.address}: no run {ref.run_id!r} in project {ref.project!r}")
        return self.index.homes[ref].chunk

    def rows(
        self,
        chunk: Chunk,
        table: str,
        refs: Collection[RunRef] | Collection[ItemRef] | None,
        excerpt: Excerpt = EVERY_POINT,
    ) -> Iterator[pa.RecordBatch]:
        """Its rows of a table, of these runs or items or all; `IntegrityError` for damage."""
        for path, part in chunk.files_of(table):
            with self._opened(chunk, path, part) as local:
                yield from read_part(local, table, refs, excerpt)

    @contextmanager
    def _opened(self, chunk: Chunk, path: str, part: Part) -> Iterator[Path]:
        """A Parquet file of a chunk on this machine, as it was written."""
        try:
            with self.folder.fetch(path) as local:
                self._prove(local, path, part)
                yield local
        except (NotFoundError, FileNotFoundError) as error:
            self.index.refresh()
            if self.index.needs(chunk.name):
                raise IntegrityError(f"{self.address}/{path} is missing; restore it") from error
            raise TransientError(f"{self.address} was changed while it was read") from error
        except (pa.ArrowException, OSError) as error:
            raise IntegrityError(f"{self.address}/{path} is damaged ({error})") from error

    def living(self, table: str) -> Iterator[pa.RecordBatch]:
        """All rows of a table of the run model, but none of what was replaced."""
        self.index.refresh()
        if table in SHARED:
            shared = self.read_shared(Query(include_deleted=True))
            yield from (batch.data for batch in shared if batch.table == table)
            return
        for chunk in self.index.chunks.values():
            every = chunk.items if table in ITEM_TABLES else chunk.entries
            living: Collection[RunRef] | Collection[ItemRef] = (
                self.index.living_items(chunk) if table in ITEM_TABLES else self.index.living(chunk)
            )
            if living and table in chunk.tables:
                whole = len(living) == len(every)
                yield from self.rows(chunk, table, None if whole else living)

    def _prove(self, local: Path, path: str, part: Part) -> None:
        """Compare the file with what the commit says of it, once."""
        if str(local) in self._proven:
            return
        if local.stat().st_size != part.size or sha256(local) != part.sha256:
            raise IntegrityError(
                f"{self.address}/{path} is damaged: not the bytes that were written; restore it"
            )
        self._proven.add(str(local))

    def _contents(self, chunk: Chunk) -> Files:
        name, files = self._files
        if name != chunk.name:
            rows = [row for data in self.rows(chunk, CONTENTS, None) for row in data.to_pylist()]
            files = {
                FileRef(RunRef(row["project"], row["run_id"]), row["owner"], row["path"]): (
                    row["sha256"],
                    row["size"],
                )
                for row in rows
            }
            self._files = chunk.name, files
        return files

    def _open_content(self, digest: str, size: int, file: FileRef) -> BinaryIO:
        path = content_path(digest)
        there = self.folder.size(path)
        if there is None:
            raise NotFoundError(f"{self.address}/{path} is missing: the bytes of {file.path!r}")
        if there != size:
            raise IntegrityError(f"{self.address}/{path} is damaged: {there} bytes, not {size}")
        proven = ProvenFile(self.folder.open(path), digest, f"{self.address}/{path}")
        return io.BufferedReader(proven, 1 << 18)


def is_whole(store: ArchiveReader, chunk: Chunk) -> bool:
    """Whether the chunk's own Parquet files have the bytes that its commit says."""
    for table, part in chunk.parts.items():
        try:
            with store.folder.fetch(chunk.path(table)) as local:
                if local.stat().st_size != part.size or sha256(local) != part.sha256:
                    return False
        except (NotFoundError, FileNotFoundError):
            return False
    return True


class ProvenFile(io.RawIOBase):
    """A file that raises `IntegrityError` at its end unless its bytes have the digest."""

    def __init__(self, file: BinaryIO, digest: str, where: str) -> None:
        self._file = file
        self._expected = digest
        self._digest = hashlib.sha256()
        self._where = where

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer)
        data = self._file.read(len(view))
        view[: len(data)] = data
        self._digest.update(data)
        if not data and self._digest.hexdigest() != self._expected:
            raise IntegrityError(
                f"{self._where} is damaged: its bytes do not fit its name; restore it"
            )
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def content_path(digest: str) -> str:
    """Where the bytes with a digest lie; `IntegrityError` for what is none, in a forged table."""
    if not bag.is_digest(digest):
        raise IntegrityError(f"the table contents is damaged: {digest!a} is no SHA-256")
    return bag.content_path(digest)


def _unlike(chunk: Chunk, there: Mapping[str, int]) -> Iterator[str]:
    for path, part in sorted(found for table in chunk.tables for found in chunk.files_of(table)):
        if there.get(path) not in (part.size, UNTOLD):
            yield f"{path}\0{there.get(path)}\n"


def _marked(entry: Entry, harm: str) -> RunInfo:
    """What a listing says of a run, with another fingerprint where its chunk has come to harm."""
    info = replace(entry.info, deleted=entry.deleted) if entry.deleted else entry.info
    if not harm:
        return info
    state = hashlib.sha256(f"{info.fingerprint}\n{harm}".encode())
    return replace(info, fingerprint=state.hexdigest())


def _means(query: Query, entry: Entry) -> bool:
    info = entry.info
    return (
        (not query.projects or info.ref.project in query.projects)
        and (not query.run_ids or info.ref.run_id in query.run_ids)
        and (query.since is None or (info.started is not None and info.started >= query.since))
        and (query.include_deleted or not entry.deleted)
    )


def _means_item(query: Query, info: ItemInfo) -> bool:
    return (
        (not query.projects or info.ref.project in query.projects)
        and (not query.run_ids or info.run_id in query.run_ids)
        and (query.since is None or (info.started is not None and info.started >= query.since))
    )


def _last_of_each_name(rows: pa.Table, table: str) -> pa.Table:
    names = zip(*(rows.column(column).to_pylist() for column in NAMED_BY[table]))
    last = {name: index for index, name in enumerate(names)}
    return rows if len(last) == rows.num_rows else rows.take(list(last.values()))
