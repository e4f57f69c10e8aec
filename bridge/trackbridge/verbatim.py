"""The way of a chunk into a store that holds the run model as it is: nothing but new labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trackbridge.adapter import Batch, FileRef, Row, RunKey, RunRef, Writer
from trackbridge.columns import batches, relabel
from trackbridge.losses import Losses


class Verbatim:
    """Like `Translation`, for stores that hold the run model as it is."""

    def __init__(self, writer: Writer, keys: Sequence[RunKey]) -> None:
        self.losses = Losses()
        self._labels = {RunRef(k.project, k.run_id): writer.target(k) for k in keys}
        self._files: dict[FileRef, Row] = {}

    def feed(self, batch: Batch) -> Iterator[Batch]:
        if batch.table != "files":
            yield Batch(batch.table, relabel(batch.data, self._labels))
            return
        for row in batch.data.to_pylist():
            place = self.place(
                RunRef(row["project"], row["run_id"]), row["owner"] or "", row["path"]
            )
            self._files[place] = {**row, **place.run._asdict()}

    def present(self) -> None:
        """Nothing is shown differently."""

    def place(self, origin: RunRef, owner: str, path: str) -> FileRef:
        return FileRef(self._labels[origin], owner, path)

    def contents(self) -> Iterator[tuple[FileRef, bytes]]:
        return iter(())

    def set_file(
        self, origin: RunRef, owner: str, path: str, size: int | None, sha256: str | None
    ) -> None:
        self._files[self.place(origin, owner, path)].update(size=size, sha256=sha256)

    def leave_out_missing(self) -> None:
        """The rows of files without bytes are kept: only the bytes are missing."""
        for place, row in self._files.items():
            if not (row["sha256"] or row["reference"]):
                self.losses.add("files without bytes", f"{place.run.run_id}: {place.path}")

    def finish(self) -> Iterator[Batch]:
        yield from batches("files", self._files.values())

    def sidecars(self) -> Iterator[tuple[RunRef, bytes]]:
        return iter(())
