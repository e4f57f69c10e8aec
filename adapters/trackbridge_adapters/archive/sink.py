"""A chunk of runs being written into an archive."""

from __future__ import annotations

import hashlib
import itertools
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import pyarrow as pa

from trackbridge.adapter import STORE, Batch, FileRef, ItemRef, RunInfo, RunKey, RunRef
from trackbridge.errors import IntegrityError, TransientError
from trackbridge.folder import storage_errors
from trackbridge.optional import ItemInfo
from trackbridge.schema import ITEM_TABLES, ITEMS, NAMED_BY, SHARED
from trackbridge.times import moment
from trackbridge_adapters.archive.chunks import Chunk, Entry, chunk_id
from trackbridge_adapters.archive.cleaning import remove, take_out
from trackbridge_adapters.archive.draft import Draft
from trackbridge_adapters.archive.parts import CONTENTS, SCHEMAS, blocks
from trackbridge_adapters.archive.reader import content_path, is_whole
from trackbridge_adapters.archive.shares import Share, bring, check_shares

if TYPE_CHECKING:
    from trackbridge_adapters.archive.writer import ArchiveWriter

Name = tuple[str, ...]
"""What names a row of a shared table: the table, then the values of `NAMED_BY`."""


class Shown(NamedTuple):
    """What a listing needs of a row of the table runs."""

    ref: RunRef
    name: str | None
    status: str | None
    started: int | None
    deleted: bool | None


class ArchiveSink:
    """Streams a chunk into a scratch folder; `commit` puts it in place.

    Contents of files are put at once: without a commit nothing refers to them.
    """

    def __init__(self, writer: ArchiveWriter, targets: Mapping[RunRef, RunKey]) -> None:
        self._store = writer
        self._targets = targets
        self._stack = ExitStack()
        self._id = chunk_id(str(key) for key in targets.values())
        self._rows: list[pa.RecordBatch] = []
        self._item_rows: dict[ItemRef, tuple[int | None, str | None]] = {}
        self._contents: dict[FileRef, tuple[str, int]] = {}
        self._names: set[Name] = set()
        self._shares: list[Share] = []
        self._number = itertools.count()
        homes = writer.index.homes
        self._found = {ref: homes[ref].chunk.generation for ref in targets if ref in homes}
        self._refuse_strangers()

    def __enter__(self) -> ArchiveSink:
        name = self._id if self._targets else f"shared-{uuid.uuid4().hex}"
        self._scratch = self._stack.enter_context(self._store.folder.scratch(name))
        self._runs = Draft(self._store.folder, self._scratch / "runs")
        self._shared = Draft(self._store.folder, self._scratch / "shared")
        self._items = Draft(self._store.folder, self._scratch / "items")
        for draft in (self._runs, self._shared, self._items):
            self._stack.callback(draft.abandon)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def write(self, batch: Batch) -> None:
        if batch.table in SHARED:
            self._names.update(_names(batch.table, batch.data))
            self._shared.write(batch.table, batch.data)
            return
        if batch.table in ITEM_TABLES:
            if batch.table in ITEMS:
                self._item_rows.update(_items(batch))
            self._items.write(batch.table, batch.data)
            return
        if batch.table == "runs":
            self._rows.append(batch.data)
        self._runs.write(batch.table, batch.data)

    def put_file(self, file: FileRef, data: BinaryIO) -> None:
        known = file.run == STORE or ItemRef.of(file) is not None
        if not known and file.run not in self._targets:
            raise IntegrityError(f"{self._store.address}: {file.run} was not opened for writing")
        staged = self._scratch / f"content-{next(self._number)}"
        digest, size = hashlib.sha256(), 0
        with storage_errors(str(staged), passing=False), staged.open("wb") as out:
            for block in blocks(data):
                digest.update(block)
                size += out.write(block)
        path = content_path(digest.hexdigest())
        if self._store.folder.size(path) != size:
            self._store.folder.publish(staged, path)
        else:
            staged.unlink()
        self._contents[file] = digest.hexdigest(), size

    def adopt(self, token: str) -> None:
        share = Share.loads(token)
        if share.run not in self._targets:
            raise IntegrityError(f"{self._store.address}: {share.run} was not opened for writing")
        if share.part.rows:
            self._shares.append(share)

    def commit(self) -> Mapping[RunKey, RunRef]:
        self._store.index.refresh()
        self._refuse_strangers()
        digests = (digest for digest, _ in self._contents.values())
        self._store.folder.settle(map(content_path, digests))
        self._commit_shared()
        if self._item_rows:
            self._commit_items()
        if self._targets:
            self._commit_runs()
        return {key: ref for ref, key in self._targets.items()}

    def _refuse_strangers(self) -> None:
        """A run of the same project and run id, but of another origin, is never replaced."""
        for ref, key in self._targets.items():
            home = self._store.index.homes.get(ref)
            if home is not None and home.entry.info.key != key:
                raise IntegrityError(
                    f"{self._store.address}: run {ref.run_id} of project {ref.project} is there "
                    f"already, from {home.entry.info.key}; put {key} into another archive"
                )

    def _commit_runs(self) -> None:
        index = self._store.index
        self._runs.write(CONTENTS, self._contents_of(lambda file: file.run in self._targets))
        parts = self._runs.finish()
        self._check_labels(parts)
        shares = tuple(share.part for share in self._shares)
        bring(self._store, shares)
        entries = tuple(self._entries(chunk_id(p.sha256 for p in [*parts.values(), *shares])))
        replaced = [index.homes[ref].chunk for ref in self._targets if ref in index.homes]
        chunk = Chunk(
            self._id,
            1 + max((old.generation for old in replaced), default=0),
            index.next_revision(self._id),
            entries,
            parts,
            shares=shares,
        )
        if not self._is_there(chunk):
            self._refuse_the_late()
            self._runs.publish(chunk)
            check_shares(self._store, shares)
            index.add(chunk)
        index.refresh()
        for old in list(index.outdated.values()):
            if any(entry.info.ref in self._targets for entry in old.entries):
                take_out(self._store, old, self._scratch)
        index.refresh()

    def _refuse_the_late(self) -> None:
        """What another one has written since we began may be newer than what we have read.

        To begin anew helps, but where points are ours that were read before.
        """
        for ref in self._targets:
            home = self._store.index.homes.get(ref)
            if home is not None and home.chunk.generation > self._found.get(ref, 0):
                raise (IntegrityError if self._shares else TransientError)(
                    f"{self._store.address}: run {ref.run_id} was written by another one meanwhile"
                )

    def _is_there(self, chunk: Chunk) -> bool:
        """Whether somebody who was given the same runs has committed the very same before.

        He may be reading it back; to write it again would take it away from him.
        """
        homes = self._store.index.homes
        found = {homes[ref].chunk.name for ref in self._targets if ref in homes}
        if len(found) != 1:
            return False
        old = self._store.index.chunks[found.pop()]
        same = (old.id, old.entries, old.parts, old.shares)
        return same == (chunk.id, chunk.entries, chunk.parts, chunk.shares) and is_whole(
            self._store, old
        )

    def _commit_items(self) -> None:
        index = self._store.index
        self._items.write(CONTENTS, self._contents_of(lambda file: ItemRef.of(file) is not None))
        parts = self._items.finish()
        state = chunk_id(part.sha256 for part in parts.values())
        name = chunk_id(map(str, self._item_rows))
        homes = index.item_homes
        replaced = [homes[ref].chunk for ref in self._item_rows if ref in homes]
        chunk = Chunk(
            name,
            1 + max((old.generation for old in replaced), default=0),
            index.next_revision(name),
            (),
            parts,
            (),
            tuple(
                ItemInfo(ref, state, 1, moment(started), run)
                for ref, (started, run) in sorted(self._item_rows.items())
            ),
        )
        self._items.publish(chunk)
        index.add(chunk)
        index.refresh()
        for old in list(index.outdated.values()):
            if any(info.ref in self._item_rows for info in old.items):
                take_out(self._store, old, self._scratch)
        index.refresh()

    def _check_labels(self, tables: Iterable[str]) -> None:
        where = self._store.address
        for table in tables:
            for ref in self._runs.counts(table).keys() - self._targets.keys():
                raise IntegrityError(f"{where}: {table} has rows of {ref}, which was not opened")
        for ref in self._targets:
            if self._runs.counts("runs")[ref] != 1:
                raise IntegrityError(f"{where}: {ref} has not exactly one row in the table runs")

    def _commit_shared(self) -> None:
        """Rows of shared tables lie in chunks of their own, which replace those they cover."""
        index = self._store.index
        self._shared.write(CONTENTS, self._contents_of(_is_of_store))
        parts = self._shared.finish()
        name, there = chunk_id(part.sha256 for part in parts.values()), index.shared()
        if not parts or (there and there[-1].id == name):
            return
        left = [c for c in index.chunks.values() if c.of_shared and c not in there]
        covered = [chunk for chunk in there if self._covers(chunk)]
        chunk = Chunk(
            name,
            1 + max((old.generation for old in there), default=0),
            index.next_revision(name),
            (),
            parts,
            tuple(old.name for old in [*left, *covered]),
        )
        self._shared.publish(chunk)
        for old in [*left, *covered]:
            remove(self._store, old)
        index.refresh()

    def _covers(self, chunk: Chunk) -> bool:
        return all(
            name in self._names
            for table in chunk.parts
            for data in self._store.rows(chunk, table, None)
            for name in _names(table, data)
        )

    def _contents_of(self, belongs: Callable[[FileRef], bool]) -> pa.RecordBatch:
        """The files of the runs, of items or of the store, as rows."""
        rows = [
            {**file.run._asdict(), "owner": file.owner, "path": file.path, "sha256": d, "size": n}
            for file, (d, n) in sorted(self._contents.items())
            if belongs(file)
        ]
        data = pa.RecordBatch.from_pylist(rows, schema=SCHEMAS[CONTENTS])
        if belongs is _is_of_store:
            self._names.update(_names(CONTENTS, data))
        return data

    def _entries(self, fingerprint: str) -> Iterator[Entry]:
        """The runs in the order of their keys, for a commit that does not depend on the caller."""
        sizes: dict[RunRef, list[int]] = {ref: [] for ref in self._targets}
        for file, (_, size) in self._contents.items():
            if file.run in sizes:
                sizes[file.run].append(size)
        points = self._runs.counts("metrics") + self._runs.counts("series")
        for share in self._shares:
            points[share.run] += share.part.rows
        for row in sorted(_shown(self._rows), key=lambda row: self._targets[row.ref]):
            info = RunInfo(
                row.ref,
                self._targets[row.ref],
                fingerprint,
                row.name,
                row.status,
                moment(row.started),
                points[row.ref],
                len(sizes[row.ref]),
                sum(sizes[row.ref]),
                carried=True,
            )
            yield Entry(info, bool(row.deleted))


def _is_of_store(file: FileRef) -> bool:
    return file.run == STORE and ItemRef.of(file) is None


def _items(batch: Batch) -> Iterator[tuple[ItemRef, tuple[int | None, str | None]]]:
    """The items of a batch of their own table: when each began, and the run it was made in."""
    data, kind = batch.data, batch.table
    names = (data.column(column).to_pylist() for column in ("project", ITEMS[kind].id))
    refs = [ItemRef(kind, *labels) for labels in zip(*names)]
    there = set(data.schema.names)
    nothing = [None] * data.num_rows
    time = next((name for name in ("started", "created") if name in there), None)
    started = data.column(time).cast(pa.int64()).to_pylist() if time else nothing
    runs = data.column("run_id").to_pylist() if "run_id" in there else nothing
    yield from zip(refs, zip(started, runs))


def _shown(batches: list[pa.RecordBatch]) -> Iterator[Shown]:
    data = pa.Table.from_batches(batches, SCHEMAS["runs"])
    columns = {name: data.column(name) for name in ("project", "run_id", *Shown._fields[1:])}
    columns["started"] = columns["started"].cast(pa.int64())
    for project, run_id, *rest in zip(*(column.to_pylist() for column in columns.values())):
        yield Shown(RunRef(project, run_id), *rest)


def _names(table: str, data: pa.RecordBatch) -> Iterator[Name]:
    columns = ("owner", "path") if table == CONTENTS else NAMED_BY[table]
    for name in zip(*(data.column(column).to_pylist() for column in columns)):
        yield table, *name
