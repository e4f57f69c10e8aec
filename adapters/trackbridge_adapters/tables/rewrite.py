"""Tables that grow, and tables that are written anew since runs in them are replaced."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO

from trackbridge.adapter import RunRef
from trackbridge.disk import BLOCK, system_errors
from trackbridge.schema import SHARED
from trackbridge_adapters.tables.emit import CONTENTS, emit, header
from trackbridge_adapters.tables.layout import STAGED, Chunk, Commit, Part, cut_back

if TYPE_CHECKING:
    from trackbridge_adapters.tables.writer import StoredWriter


class Growing:
    """A table to which rows are added: at the end of its file, or in a new one.

    A new file (`anew`) takes the place of the old one when the commit says so.
    """

    def __init__(self, store: StoredWriter, table: str, *, anew: bool = False) -> None:
        name = f"{table}.{store.scheme}"
        self._anew, self._root = anew, store.root
        self._path = store.root / STAGED / name if anew else store.root / name
        self._first = 0 if anew else store.commit.sizes.get(table, 0)
        self._digest = hashlib.sha256()
        with system_errors(self._path):
            self._path.parent.mkdir(exist_ok=True)
            self._file: BinaryIO = self._path.open("wb" if anew or not self._first else "r+b")
            self._file.seek(self._first)
            head = b"" if self._first else header(table, store.scheme)
            self._file.write(head)
        self.offset = self._end = self._first + len(head)

    def add(self, data: bytes) -> None:
        """Write bytes of whole rows."""
        self._digest.update(data)
        with system_errors(self._path):
            self._file.write(data)
        self._end += len(data)

    @property
    def end(self) -> int:
        return self._end

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()

    @property
    def part(self) -> Part:
        """What was added."""
        return Part(self.offset, self._end - self.offset, self.digest)

    def blocks(self) -> Iterator[bytes]:
        """What was added, in blocks."""
        with system_errors(self._path):
            self._file.flush()
            with self._path.open("rb") as file:
                file.seek(self.offset)
                while block := file.read(BLOCK):
                    yield block

    def finish(self) -> None:
        """Make what was added survive a loss of power."""
        with system_errors(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def abandon(self) -> None:
        """Take away what was added."""
        with system_errors(self._path):
            self._file.close()
            if self._anew or not self._first:
                self._path.unlink(missing_ok=True)
            else:
                cut_back(self._root, self._path, self._first)


class Rewriting:
    """What a chunk of runs changes in a folder: rows of theirs that are there are taken out."""

    def __init__(
        self, store: StoredWriter, targets: Collection[RunRef], added: Mapping[str, Growing]
    ) -> None:
        self._store, self._targets, self._added = store, targets, added
        self._replaced: dict[int, set[RunRef]] = {}
        for ref in targets:
            if ref in store.origins:
                self._replaced.setdefault(store.origins[ref].chunk, set()).add(ref)

    def stale(self) -> set[str]:
        """Names of bytes that nothing speaks of any more, once the chunk is committed."""
        if not any(CONTENTS in self._store.commit.chunks[n].parts for n in self._replaced):
            return set()
        gone: set[str] = set()
        kept = {stored for stored, _ in self._store.commit.files.values()}
        for number, chunk in enumerate(self._store.commit.chunks):
            if CONTENTS in chunk.parts:
                replaced = self._replaced.get(number, set())
                for file, (stored, _) in self._store.contents(number).items():
                    (gone if file.run in replaced else kept).add(stored)
        return gone - kept

    def applied(self, commit: Commit) -> Commit:
        """The commit after the chunk; tables that others' rows leave are written anew."""
        anew = {t for number in self._replaced for t in commit.chunks[number].parts}
        left = [
            Chunk(chunk.runs - len(self._replaced.get(number, ())), dict(chunk.parts))
            for number, chunk in enumerate(commit.chunks)
        ]
        sizes = dict(commit.sizes)
        own: dict[str, Part] = {}
        for table in sorted({*anew, *(t for t in self._added if t not in SHARED)}):
            if table not in anew:
                own[table], sizes[table] = self._added[table].part, self._added[table].end
                continue
            made = self._written_anew(table, commit, left)
            if table in self._added:
                own[table] = self._appended(made, self._added[table])
            sizes[table] = made.end
            made.finish()
        chunks = [chunk for chunk in left if chunk.runs]
        chunks.append(Chunk(len(self._targets), own))
        staged = (*commit.staged, *sorted(anew))
        return replace(commit, sizes=sizes, chunks=tuple(chunks), staged=staged)

    def _written_anew(self, table: str, commit: Commit, left: list[Chunk]) -> Growing:
        """A table without the rows of replaced runs; parts in `left` become those that it has."""
        store, made = self._store, Growing(self._store, table, anew=True)
        for number, chunk in enumerate(commit.chunks):
            if table not in chunk.parts:
                continue
            start, digest = made.end, hashlib.sha256()
            parts = dict(left[number].parts)
            if number not in self._replaced:
                for data in store.part_bytes(table, chunk.parts[table]):
                    made.add(data)
                parts[table] = chunk.parts[table]._replace(offset=start)
            else:
                survivors = store.living(number) - self._replaced[number]
                for rows in store.part_rows(table, chunk.parts[table], survivors):
                    data = emit(rows, store.scheme)
                    digest.update(data)
                    made.add(data)
                parts[table] = Part(start, made.end - start, digest.hexdigest())
                if made.end == start:
                    del parts[table]
            left[number] = Chunk(left[number].runs, parts)
        return made

    def _appended(self, made: Growing, added: Growing) -> Part:
        """The rows that were added to the old file, at the end of the new one."""
        start = made.end
        for data in added.blocks():
            made.add(data)
        return Part(start, made.end - start, added.digest)
