"""Writes an archive: sinks that stream a chunk of runs into Parquet files and commit it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trackbridge.adapter import Presentation, Row, RunKey, RunRef
from trackbridge_adapters.archive.cleaning import sweep
from trackbridge_adapters.archive.marker import ensure
from trackbridge_adapters.archive.reader import ArchiveReader
from trackbridge_adapters.archive.sink import ArchiveSink


class ArchiveWriter(ArchiveReader):
    """An archive, for writing too."""

    advice = ""

    def target(self, key: RunKey) -> RunRef:
        return RunRef(key.label, key.run_id)

    def present(self, key: RunKey, tables: Mapping[str, list[Row]]) -> Presentation:
        return Presentation(dict(tables))

    def open(self, keys: Sequence[RunKey]) -> ArchiveSink:
        ensure(self.folder)
        self.index.refresh()
        return ArchiveSink(self, {self.target(key): key for key in keys})

    def sweep(self) -> None:
        """Remove what killed writers have left and no commit speaks of.

        Only for a time when nobody writes: before an archive is sealed.
        """
        sweep(self)
