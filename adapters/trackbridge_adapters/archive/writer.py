"""Writes an archive: sinks that stream a chunk of runs into Parquet files and commit it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property

from trackbridge.adapter import Batch, Presentation, Row, RunKey, RunRef
from trackbridge.audit.bag import Content
from trackbridge.audit.redaction.ledger import FOLDER as LEDGERS
from trackbridge.audit.verify import MANIFEST, SEAL, folder_of, read_manifest
from trackbridge.errors import ConfigError, IntegrityError, NotFoundError
from trackbridge.folder import Folder
from trackbridge_adapters.archive import shares
from trackbridge_adapters.archive.cleaning import contents, sweep
from trackbridge_adapters.archive.marker import ensure
from trackbridge_adapters.archive.parts import SCHEMAS
from trackbridge_adapters.archive.reader import ArchiveReader
from trackbridge_adapters.archive.sink import ArchiveSink


class ArchiveWriter(ArchiveReader):
    """An archive, for writing too."""

    advice = ""
    tables = SCHEMAS

    def __init__(self, folder: Folder, redacted: str | None = None) -> None:
        super().__init__(folder)
        self._redacted = redacted
        """By which rules what is to be written was redacted; None: by none."""

    def target(self, key: RunKey) -> RunRef:
        return RunRef(key.label, key.run_id)

    def present(self, key: RunKey, tables: Mapping[str, list[Row]]) -> Presentation:
        return Presentation(dict(tables))

    def open(self, keys: Sequence[RunKey]) -> ArchiveSink:
        self.check_mixing()
        ensure(self.folder)
        self.index.refresh()
        return ArchiveSink(self, {self.target(key): key for key in keys})

    def put_points(self, key: RunKey, batches: Iterable[Batch]) -> str:
        self.check_mixing()
        ensure(self.folder)
        return shares.put(self, self.target(key), batches).dumps()

    def sweep(self) -> None:
        """Remove what killed writers have left and no commit speaks of.

        Only for a time when nobody writes: before an archive is sealed.
        """
        sweep(self)

    def payload(self) -> Mapping[str, Content]:
        """Every file of the records, by its path below the root, as it was when it was written."""
        self.index.refresh()
        return contents(self)

    def check_mixing(self) -> None:
        """`ConfigError` where records would come together that were redacted otherwise, or not."""
        ledgers = self.folder.names(LEDGERS)
        if ledgers and self._redacted is None:
            raise ConfigError(
                f"{self.address}: holds redacted records; export into it with --redact, or name "
                "another"
            )
        if self._redacted is None:
            return
        if any(not name.startswith(self._redacted) for name in ledgers):
            raise ConfigError(
                f"{self.address}: was redacted by other rules, or with another salt; take those, "
                "or name a new archive"
            )
        self.index.refresh()
        if self.index.homes and not ledgers:
            raise ConfigError(
                f"{self.address}: holds records as they are; redacted ones need a new archive"
            )

    def add(self, path: str, data: bytes) -> None:
        """Put a document beside the records; one that is there is not written again."""
        ensure(self.folder)
        if self.folder.size(path) is None:
            with self.folder.scratch("document") as scratch:
                (scratch / "document").write_bytes(data)
                self.folder.publish(scratch / "document", path)
            self.folder.settle([path])

    @cached_property
    def sealed(self) -> Collection[str]:
        """Paths of what was sealed when this writer was made; it is neither altered nor removed."""
        try:
            return read_manifest(self.folder.read(MANIFEST))
        except NotFoundError as error:
            if self.folder.size(f"{folder_of(1)}/{SEAL}") is not None:
                where = f"{self.address}/{MANIFEST}"
                raise IntegrityError(f"{where} is missing: it says what is sealed") from error
            return ()
        except ValueError as error:
            raise IntegrityError(f"{self.address}/{MANIFEST} is damaged: it {error}") from error
