"""A chunk of runs being written into a folder of tables."""

from __future__ import annotations

import hashlib
import os
import re
import threading
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import pyarrow as pa

from trackbridge.adapter import STORE, Batch, FileRef, RunKey, RunRef
from trackbridge.columns import batches, groups
from trackbridge.disk import BLOCK, system_errors
from trackbridge.errors import IntegrityError
from trackbridge.schema import NAMED_BY, SHARED, TABLES
from trackbridge_adapters.tables.emit import CONTENTS, ORIGINS, SCHEMAS, emit
from trackbridge_adapters.tables.layout import FILES, Commit, load, put, settle
from trackbridge_adapters.tables.rewrite import Growing, Rewriting

if TYPE_CHECKING:
    from trackbridge.locks import Lock
    from trackbridge_adapters.tables.writer import StoredWriter

_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")


class Stored(NamedTuple):
    """Bytes that were put: their name in the folder of files, and what is known of them."""

    name: str
    size: int
    sha256: str


class StoredSink:
    """Adds rows at the ends of the tables; `commit` makes them count."""

    def __init__(self, writer: StoredWriter, targets: Mapping[RunRef, RunKey]) -> None:
        self._store, self._targets = writer, targets
        self._lock: Lock | None = None
        self._added: dict[str, Growing] = {}
        self._rows: dict[str, Counter[RunRef]] = {}
        self._shared: list[Batch] = []
        self._files: dict[FileRef, Stored] = {}
        self._new: set[str] = set()
        self._guard = threading.Lock()
        self._revision = 0
        self._done = False

    def __enter__(self) -> StoredSink:
        self._lock = self._store.begin()
        try:
            self._revision = self._store.commit.revision
            self._refuse_strangers()
        except BaseException:
            self._store.end(self._lock)
            raise
        return self

    def __exit__(self, *error: object) -> None:
        done = self._done
        try:
            if not done and not self._counts():
                self._undo()
                done = True
        finally:
            if self._lock is not None:
                self._store.end(self._lock, done=done)

    def write(self, batch: Batch) -> None:
        if not batch.data.num_rows:
            return
        if batch.table in SHARED:
            self._shared.append(batch)
        elif batch.table in TABLES:
            self._count(batch)
            self._add(batch.table, batch.data)

    def put_file(self, file: FileRef, data: BinaryIO) -> None:
        if file.run != STORE and file.run not in self._targets:
            raise IntegrityError(f"{self._store.address}: {file.run} was not opened for writing")
        folder = self._store.root / FILES
        with system_errors(folder):
            folder.mkdir(exist_ok=True)
            made = folder / f".{uuid.uuid4().hex}"
            digest, size = hashlib.sha256(), 0
            out = made.open("wb")
        try:
            while block := data.read(BLOCK):
                digest.update(block)
                with system_errors(made):
                    size += out.write(block)
            with system_errors(made):
                out.flush()
                os.fsync(out.fileno())
                out.close()
            suffix = _SUFFIX.fullmatch(PurePosixPath(file.path).suffix)
            name = digest.hexdigest() + (suffix[0].lower() if suffix else "")
            with self._guard, system_errors(made):
                if not (folder / name).exists():
                    self._new.add(name)
                made.replace(folder / name)
        except BaseException:
            with suppress(OSError):  # of bytes that it still has
                out.close()
            made.unlink(missing_ok=True)
            raise
        self._files[file] = Stored(name, size, digest.hexdigest())

    def commit(self) -> Mapping[RunKey, RunRef]:
        self._check_rows()
        store, before = self._store, self._store.commit
        after = self._with_shared(self._with_store_files(before))
        stale: set[str] = set()
        if self._targets:
            rewriting = Rewriting(store, self._targets, self._added)
            self._add_own_rows()
            stale = rewriting.stale() - {stored.name for stored in self._files.values()}
            after = rewriting.applied(after)
        for table in self._added.values():
            table.finish()
        if after != before:
            after = replace(after, revision=before.revision + 1)
            put(store.root, after)
            settle(store.root, after)
        store.refresh()
        self._remove(stale)
        self._done = True
        return {key: ref for ref, key in self._targets.items()}

    def _add(self, table: str, data: pa.RecordBatch) -> None:
        if table not in self._added:
            self._added[table] = Growing(self._store, table)
        self._added[table].add(emit(data, self._store.scheme))

    def _count(self, batch: Batch) -> None:
        group, first = groups(batch.data, "project", "run_id")
        counts = self._rows.setdefault(batch.table, Counter())
        labels = [batch.data.column(name) for name in ("project", "run_id")]
        refs = [RunRef(*(column[row].as_py() for column in labels)) for row in first]
        for number, ref in enumerate(refs):
            if ref not in self._targets:
                raise IntegrityError(
                    f"{self._store.address}: {batch.table} has rows of {ref}, which was not opened"
                )
            counts[ref] += int((group == number).sum()) if len(refs) > 1 else len(group)

    def _check_rows(self) -> None:
        for ref in self._targets:
            if self._rows.get("runs", Counter())[ref] != 1:
                raise IntegrityError(
                    f"{self._store.address}: {ref} has not exactly one row in the table runs"
                )

    def _refuse_strangers(self) -> None:
        """A run of the same project and run id, but of another origin, is never replaced."""
        for ref, key in self._targets.items():
            there = self._store.origins.get(ref)
            if there is not None and there.key != key:
                raise IntegrityError(
                    f"{self._store.address}: run {ref.run_id} of project {ref.project} is there "
                    f"already, from {there.key}; put {key} into another folder"
                )

    def _add_own_rows(self) -> None:
        """Where the runs come from, and where the bytes of their files lie."""
        of_runs = {file: stored for file, stored in self._files.items() if file.run != STORE}
        rows = [
            {
                **file.run._asdict(),
                "owner": file.owner,
                "path": file.path,
                "size": stored.size,
                "sha256": stored.sha256,
                "stored": stored.name,
            }
            for file, stored in sorted(of_runs.items())
        ]
        if rows:
            self._add(CONTENTS, pa.RecordBatch.from_pylist(rows, schema=SCHEMAS[CONTENTS]))
        state = hashlib.sha256()
        for table, added in sorted(self._added.items()):
            if table in SHARED:
                continue
            state.update(f"{table} {added.digest}\n".encode())
        sizes: dict[RunRef, list[int]] = {ref: [] for ref in self._targets}
        for file, stored in of_runs.items():
            sizes[file.run].append(stored.size)
        points = [self._rows.get(table, Counter()) for table in ("metrics", "series")]
        origins = [
            {
                **ref._asdict(),
                "key": str(key),
                "fingerprint": state.hexdigest()[:32],
                "points": sum(counts[ref] for counts in points),
                "files": len(sizes[ref]),
                "bytes": sum(sizes[ref]),
            }
            for ref, key in sorted(self._targets.items())
        ]
        self._add(ORIGINS, pa.RecordBatch.from_pylist(origins, schema=SCHEMAS[ORIGINS]))

    def _with_store_files(self, commit: Commit) -> Commit:
        put_there = {f.path: (s.name, s.size) for f, s in self._files.items() if f.run == STORE}
        return replace(commit, files={**commit.files, **put_there})

    def _with_shared(self, commit: Commit) -> Commit:
        """Shared tables anew where a row of theirs is: a later one replaces that of its name."""
        for table in sorted({batch.table for batch in self._shared}):
            rows = {}
            given = (b.data for b in self._shared if b.table == table)
            for data in (*self._store.shared_rows(table), *given):
                for row in data.to_pylist():
                    rows[tuple(row[column] for column in NAMED_BY[table])] = row
            made = Growing(self._store, table, anew=True)
            self._added[table] = made
            for batch in batches(table, rows.values()):
                made.add(emit(batch.data, self._store.scheme))
            part = made.part
            if part == commit.shared.get(table):
                continue
            commit = replace(
                commit,
                shared={**commit.shared, table: part},
                sizes={**commit.sizes, table: part.offset + part.size},
                staged=(*commit.staged, table),
            )
        return commit

    def _counts(self) -> bool:
        """Whether what was written is committed, however the commit ended."""
        return load(self._store.root, self._store.scheme).revision > self._revision

    def _undo(self) -> None:
        for table in self._added.values():
            table.abandon()
        self._remove(self._new)

    def _remove(self, names: Iterable[str]) -> None:
        with system_errors(self._store.root):
            for name in names:
                (self._store.root / FILES / name).unlink(missing_ok=True)
