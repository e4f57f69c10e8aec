"""The archive adapter: the whole run model as Parquet tables and content-addressed files.

    trackbridge.json                         says that this is an archive, and of which version
    data/<table>/<chunk>.parquet             the tables, readable as plain Parquet datasets
    data/contents/<chunk>.parquet            which bytes each file of a run has
    data/bytes/<ab>/<sha256>                 the bytes, each content once
    data/chunks/<chunk>.json                 the commit: a chunk without it does not exist

A chunk's name is a digest of the keys of its runs and a revision, so the same source gives the
same bytes whatever the number of workers. Runs keep the project and run id of their key; where
two runs of different origin have both in common, the second is refused (see `Writer.open`), since
an archive is for people who look runs up by their ids, long after.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trackbridge_adapters.archive.reader import ArchiveReader
    from trackbridge_adapters.archive.writer import ArchiveWriter


class ArchiveAdapter:
    """Archives in a folder of this machine or anywhere fsspec reaches."""

    name = "archive"

    def recognizes(self, location: str) -> bool:
        from trackbridge.errors import BridgeError
        from trackbridge_adapters.archive.marker import MARKER, is_marker, open_archive

        if location.partition("://")[0] in ("http", "https"):
            return False
        try:
            return is_marker(open_archive(location, {}).read(MARKER))
        except BridgeError:
            return False

    def suggests(self, location: str) -> bool:
        protocol, _, path = location.rpartition("://")
        return "archive" in path.rstrip("/").rpartition("/")[2] and protocol not in (
            "http",
            "https",
        )

    def reader(self, location: str, options: Mapping[str, str]) -> ArchiveReader:
        from trackbridge_adapters.archive.marker import check, open_archive
        from trackbridge_adapters.archive.reader import ArchiveReader

        folder = open_archive(location, options)
        check(folder)
        return ArchiveReader(folder)

    def writer(self, location: str, options: Mapping[str, str]) -> ArchiveWriter:
        from trackbridge.audit.redaction.ledger import REDACTED
        from trackbridge_adapters.archive.marker import check_target, open_archive
        from trackbridge_adapters.archive.writer import ArchiveWriter

        options = dict(options)
        redacted = options.pop(REDACTED, None)
        folder = open_archive(location, options)
        check_target(folder)
        return ArchiveWriter(folder, redacted)


ADAPTER = ArchiveAdapter()
