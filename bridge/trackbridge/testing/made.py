"""Made-up runs of the run model, and how they are brought into a store as the engine does it."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from trackbridge.adapter import (
    Batch,
    Capabilities,
    FileRef,
    Reader,
    Row,
    RunKey,
    RunRef,
    Sink,
    Writer,
)
from trackbridge.columns import batches
from trackbridge.errors import DuplicatePointsError, NotFoundError
from trackbridge.schema import LOCAL, TABLES
from trackbridge.sidecar import PATH
from trackbridge.translate import translation

FilePlace = tuple[str, str]
"""Owner and path of a file of a run."""


@dataclass
class MadeRun:
    """A run as the run model has it, whatever store it may come from.

    Rows are without their project and run, which are those of the key. `bytes` are the contents
    of the rows of `files`; their size and digest are filled in.
    """

    key: RunKey
    tables: dict[str, list[Row]] = field(default_factory=dict)
    bytes: dict[FilePlace, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tables.setdefault("runs", [{"deleted": False}])
        files = self.tables.setdefault("files", [])
        known = {(row["owner"], row["path"]): row for row in files}
        for (owner, path), content in self.bytes.items():
            row = known.get((owner, path))
            if row is None:
                files.append(row := {"owner": owner, "path": path})
            row.update(size=len(content), sha256=hashlib.sha256(content).hexdigest())

    @property
    def ref(self) -> RunRef:
        return RunRef(self.key.project, self.key.run_id)

    def batches(self) -> Iterator[Batch]:
        """All rows, labelled with the run's origin."""
        for table, rows in self.tables.items():
            yield from batches(table, ({**row, **self.ref._asdict()} for row in rows))


def deliver(
    writer: Writer, sink: Sink, runs: Sequence[MadeRun], *, careful: bool = False
) -> list[Batch]:
    """Fit runs into a store and write them; gives the rows that it was given.

    Everything but the sidecar: what the store shows by itself is the point.
    """
    moved = translation(writer, [run.key for run in runs], careful=careful)
    written = [native for run in runs for batch in run.batches() for native in moved.feed(batch)]
    moved.present()
    for run in runs:
        for (owner, path), content in run.bytes.items():
            sink.put_file(moved.place(run.ref, owner, path), io.BytesIO(content))
            digest = hashlib.sha256(content).hexdigest()
            moved.set_file(run.ref, owner, path, len(content), digest)
    for place, content in moved.contents():
        sink.put_file(place, io.BytesIO(content))
    moved.leave_out_missing()
    written += moved.finish()
    for batch in written:
        if batch.data.num_rows:
            sink.write(batch)
    return written


def store(writer: Writer, runs: Sequence[MadeRun]) -> list[Batch]:
    """Write runs and commit them; where points become equal in the store, carefully."""
    for careful in (False, True):
        try:
            with writer.open([run.key for run in runs]) as sink:
                written = deliver(writer, sink, runs, careful=careful)
                sink.commit()
                return written
        except DuplicatePointsError:
            if careful:
                raise
    raise AssertionError("not reached")
