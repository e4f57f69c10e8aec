"""Made-up runs of the run model, and how they are brought into a store as the engine does it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from trackbridge.adapter import (
    Batch,
    Row,
    RunKey,
    RunRef,
    Sink,
    Writer,
)
from trackbridge.columns import batches
from trackbridge.errors import DuplicatePointsError
from trackbridge.translate import translation

FilePlace = tuple[str, str]
"""Owner and path of a file of a run."""


@dataclass
class MadeRun:
    """A run as the run model has it, whatever store it may come from.

    Rows are without their project and run, which are those of the key. Each of the `contents`
    of files gets its row in the table files.
    """

    key: RunKey
    tables: dict[str, list[Row]] = field(default_factory=dict)
    contents: dict[FilePlace, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tables.setdefault("runs", [{"deleted": False}])
        self.tables.setdefault("files", [])
        contents, self.contents = self.contents, {}
        for (owner, path), content in contents.items():
            self.add_file(owner, path, content)

    def add_file(self, owner: str, path: str, content: bytes) -> None:
        """Give the run one more file, with its row."""
        self.contents[owner, path] = content
        digest = hashlib.sha256(content).hexdigest()
        row = {"owner": owner, "path": path, "size": len(content), "sha256": digest}
        self.tables["files"].append(row)

    @property
    def ref(self) -> RunRef:
        return self.key.born

    def batches(self) -> Iterator[Batch]:
        """All rows, labelled with the run's origin."""
        for table, rows in self.tables.items():
            yield from batches(table, ({**row, **self.ref._asdict()} for row in rows))


def fitted(
    writer: Writer, sink: Sink, runs: Sequence[MadeRun], *, careful: bool = False
) -> list[Batch]:
    """Fit runs into a store and put their files; gives the rows, which are still to be written.

    Everything but the sidecar: what the store shows by itself is the point.
    """
    moved = translation(writer, [run.key for run in runs], careful=careful)
    native = [each for run in runs for batch in run.batches() for each in moved.feed(batch)]
    moved.present()
    for run in runs:
        for (owner, path), content in run.contents.items():
            sink.put_file(moved.place(run.ref, owner, path), io.BytesIO(content))
            digest = hashlib.sha256(content).hexdigest()
            moved.set_file(run.ref, owner, path, len(content), digest)
    for place, content in moved.contents():
        sink.put_file(place, io.BytesIO(content))
    moved.leave_out_missing()
    return [batch for batch in [*native, *moved.finish()] if batch.data.num_rows]


def deliver(
    writer: Writer, sink: Sink, runs: Sequence[MadeRun], *, careful: bool = False
) -> list[Batch]:
    """Fit runs into a store and write them; gives the rows that the sink was given."""
    written = fitted(writer, sink, runs, careful=careful)
    for batch in written:
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
