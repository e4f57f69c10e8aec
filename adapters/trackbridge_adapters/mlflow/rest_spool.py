"""A chunk on its way to a server: kept on disk until it is known how its runs begin.

The server wants a run's start and user when it makes the run, and those come last.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trackbridge import disk
from trackbridge.adapter import Batch, FileRef, Row, RunRef
from trackbridge.columns import split
from trackbridge.digest import point_hashes
from trackbridge.errors import DuplicatePointsError, temporary_errors
from trackbridge.schema import TABLES
from trackbridge_adapters.mlflow.artifacts import inside

Hashes = npt.NDArray[np.uint64]


class Waiting(NamedTuple):
    """A file that is still to be sent."""

    file: FileRef
    copy: Path


class Spool:
    """Rows and files of a chunk; points and files on disk."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Row]] = defaultdict(list)
        self.files: list[Waiting] = []
        self._folder = Path(tempfile.mkdtemp(prefix="trackbridge-"))
        self._writer: pa.ipc.RecordBatchStreamWriter | None = None
        self._hashes: dict[RunRef, list[Hashes]] = defaultdict(list)

    def add(self, batch: Batch) -> None:
        """Keep rows, in any order."""
        if batch.table != "metrics":
            self.rows[batch.table] += batch.data.to_pylist()
        elif batch.data.num_rows:
            for ref, data in split(batch.data):
                self._hashes[ref].append(point_hashes(data))
            if self._writer is None:
                self._writer = pa.ipc.new_stream(self._points, TABLES["metrics"])
            self._writer.write_batch(batch.data)

    def put(self, file: FileRef, data: BinaryIO) -> None:
        """Keep the bytes of a file; a later one of the same name replaces it."""
        inside(Path(), file.path)
        copy = self._folder / f"file-{len(self.files)}"
        disk.write(copy, data, temporary_errors)
        self.files.append(Waiting(file, copy))

    def check_points(self) -> None:
        """A server keeps equal points once, and says nothing: `DuplicatePointsError`."""
        for ref, hashes in self._hashes.items():
            every = np.concatenate(hashes)
            if len(np.unique(every)) < len(every):
                raise DuplicatePointsError(f"run {ref.run_id}: equal points, kept only once there")

    def hashes(self, ref: RunRef) -> Hashes:
        """A hash for each point of a run."""
        return np.concatenate([np.empty(0, np.uint64), *self._hashes.get(ref, ())])

    def points(self) -> Iterator[tuple[RunRef, pa.RecordBatch]]:
        """Points by run, in the order in which they came."""
        if self._writer is None:
            return
        self._writer.close()
        with pa.OSFile(str(self._points)) as file, pa.ipc.open_stream(file) as reader:
            for data in reader:
                yield from split(data)

    def close(self) -> None:
        """Delete what is on disk."""
        if self._writer is not None:
            self._writer.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _points(self) -> str:
        return str(self._folder / "points")
