"""A chunk's files while they are written: in a scratch folder first, then published."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

from trackbridge.adapter import RunRef
from trackbridge.errors import NotFoundError, TransientError
from trackbridge.folder import Folder, storage_errors
from trackbridge_adapters.archive.chunks import Chunk, Part
from trackbridge_adapters.archive.parts import SCHEMAS, PartWriter


class Draft:
    """The Parquet files of one chunk, unseen by readers until `publish`."""

    def __init__(self, folder: Folder, scratch: Path) -> None:
        scratch.mkdir()
        self._folder = folder
        self._scratch = scratch
        self._writers: dict[str, PartWriter] = {}

    def write(self, table: str, data: pa.RecordBatch) -> None:
        """Add rows; a table without rows gets no file."""
        if not data.num_rows:
            return
        if table not in self._writers:
            self._writers[table] = PartWriter(self._staged(table), table)
        self._writers[table].write(data)

    def finish(self) -> dict[str, Part]:
        """Complete the files, still unpublished."""
        return {table: writer.close() for table, writer in self._writers.items()}

    def counts(self, table: str) -> Counter[RunRef]:
        """Rows of each run in a table, once the files are finished."""
        return self._writers[table].counts if table in self._writers else Counter()

    def publish(self, chunk: Chunk) -> None:
        """Put the finished files in their places, the commit last.

        A killed attempt may have left files of the same names. `TransientError` where another one
        has committed something else by this name: whoever is late must not alter it.
        """
        if self._is_committed(chunk):
            return
        for table in SCHEMAS.keys() - chunk.parts.keys():
            self._folder.remove(chunk.path(table))
        for table in chunk.parts:
            if self._is_committed(chunk):
                return
            self._folder.publish(self._staged(table), chunk.path(table))
        self._folder.settle(map(chunk.path, chunk.parts))
        commit = self._scratch / "commit.json"
        with storage_errors(str(commit), passing=False):
            commit.write_bytes(chunk.dumps())
        if self._is_committed(chunk):
            return
        self._folder.publish(commit, chunk.commit)
        self._folder.settle([chunk.commit])

    def abandon(self) -> None:
        """Let go of the files, so that the scratch folder can be removed."""
        for writer in self._writers.values():
            writer.abandon()

    def _is_committed(self, chunk: Chunk) -> bool:
        """Whether another one has committed the very same chunk meanwhile."""
        if self._folder.size(chunk.commit) is None:
            return False
        with suppress(NotFoundError):
            if self._folder.read(chunk.commit) == chunk.dumps():
                return True
        where = f"{self._folder.address}/{chunk.commit}"
        raise TransientError(f"{where} was written by another one meanwhile")

    def _staged(self, table: str) -> Path:
        return self._scratch / f"{table}.parquet"
