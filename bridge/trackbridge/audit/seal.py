"""Seals an archive: makes it a bag, and signs what is in it.

A seal covers a *generation* of the archive. What is added later is sealed by the next one, which
names the one before it; nothing that was sealed is altered. Files that a generation has to replace
(manifests, descriptions) are put aside first, as they were, under `seals/<the one before>/`.

Each file is put whole. A kill leaves `sealing.json` behind, which says that the archive is not
sealed; the next call does all of it again.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, runtime_checkable

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trackbridge import __version__
from trackbridge.adapter import Query, Reader
from trackbridge.audit import bag, verify
from trackbridge.audit.bag import Content
from trackbridge.audit.describe import DESCRIPTIONS, describe
from trackbridge.audit.keys import Key
from trackbridge.audit.timestamp import ask
from trackbridge.audit.verify import MANIFEST, SEALING, TAG_MANIFEST, folder_of
from trackbridge.audit.viewing import files as pages
from trackbridge.errors import ConfigError, IntegrityError
from trackbridge.folder import SCRATCH, UNTOLD, Folder
from trackbridge.registry import NO_OPTIONS, open_reader, open_writer

INFO = "bag-info.txt"
_URL = re.compile(r"[a-z][a-z0-9+.-]*://\S+")
DATA = "data/"
OWN = {*DESCRIPTIONS, verify.BAGIT, INFO, MANIFEST, TAG_MANIFEST, verify.FETCH, SEALING}
"""What may be there that neither records nor seals are."""


@runtime_checkable
class Archive(Reader, Protocol):
    """What sealing needs of an archive's writer."""

    folder: Folder
    tables: Mapping[str, pa.Schema]
    """Its tables, with what each column means."""

    def sweep(self) -> None:
        """Remove what no commit speaks of; what is sealed stays."""
        ...

    def living(self, table: str) -> Iterator[pa.RecordBatch]:
        """All rows of a table, but none of what was replaced."""
        ...

    def payload(self) -> Mapping[str, Content]:
        """Every file of the records, by its path below the root, as it was when it was written."""
        ...

    def check_mixing(self) -> None:
        """`ConfigError` where records would come together that were redacted otherwise, or not."""
        ...

    def add(self, path: str, data: bytes) -> None:
        """Put a document beside the records; one that is there is not written again."""
        ...


class Sealed(NamedTuple):
    """What a call has done."""

    generation: int
    runs: int
    files: int
    size: int
    new: bool
    """False where nothing was added since the last seal."""


def seal(address: str, key: Key, tsa: str | None = None) -> Sealed:
    """Seal an archive, or what was added to it since it was sealed.

    `tsa` is the URL of an authority for time stamps; it is sent the digest of the tag manifest.

    Only for a time when nobody writes to it. Bytes of files are not read again. Raises
    `ConfigError` where something lies in it that is not of it, `IntegrityError` where a file is
    missing or not as large as it was written.
    """
    return _Job(open_archive(address), key, tsa).run()


def open_archive(
    address: str, options: Mapping[str, str] = NO_OPTIONS, *, new: bool = False
) -> Archive:
    """The archive at an address, which has to be there unless it may be `new`.

    `ConfigError` for another store.
    """
    if not new:
        open_reader(address)
    archive = open_writer(address, options)
    if not isinstance(archive, Archive):
        raise ConfigError(f"{address}: no archive; `trackbridge export` makes one of it")
    return archive


class Standing(NamedTuple):
    """What is in an archive, and what of it its newest seal covers."""

    there: dict[str, int]
    """Size of each file that is in the archive."""
    last: int
    """Number of the newest seal; 0 where there is none."""
    before: dict[str, str]
    """Digest of each file as that seal has it."""

    def covers(self, paths: Iterable[str]) -> bool:
        """Whether the newest seal covers these files; other seals are not asked for."""
        inside = (path for path in paths if not path.startswith(f"{verify.SEALS}/"))
        return bool(self.last) and self.before.keys() >= set(inside)


def standing(folder: Folder) -> Standing:
    """Look at an archive.

    Raises `IntegrityError` for a manifest that is damaged, a link, or what else is no file.
    """
    there: dict[str, int] = {}
    for path, found in folder.tree():
        if found.odd:
            raise IntegrityError(
                f"{folder.address}/{path} is {found.odd}: an archive has none; remove it"
            )
        there[path] = found.size
    last = 0
    while f"{folder_of(last + 1)}/{verify.SEAL}" in there:
        last += 1
    before: dict[str, str] = {}
    for name in (TAG_MANIFEST, MANIFEST) if last else ():
        aside = f"{folder_of(last)}/{name}"
        path = aside if aside in there else name
        try:
            before |= verify.read_manifest(folder.read(path))
        except ValueError as error:
            raise IntegrityError(f"{folder.address}/{path} {error}") from error
        if name == TAG_MANIFEST:
            before[name] = _digest(folder.open(path))
    return Standing(there, last, before)


class _Job:
    def __init__(self, archive: Archive, key: Key, tsa: str | None) -> None:
        self._archive = archive
        self._folder = archive.folder
        self._key = key
        self._tsa = tsa

    def run(self) -> Sealed:
        self._folder.clear_scratch()
        self._look()
        self._end()
        self._check_sealed()
        if not self._found.covers(self._there):
            self._archive.sweep()
            self._look()
        if self._found.covers(self._there):
            records = self._sealed()
            self._check_tags()
            return self._done(self._last, records, new=False)
        payload = self._archive.payload()
        self._check(payload)
        self._elsewhere |= self._referred(payload)
        with self._folder.scratch("seal") as self._scratch:
            self._put(SEALING, _sealing(self._last + 1))
            records = self._describe(payload)
            self._tag(records)
            self._sign(records)
            self._folder.remove(SEALING)
        return self._done(self._last + 1, records, new=True)

    def _done(self, generation: int, records: Mapping[str, Content], *, new: bool) -> Sealed:
        runs = sum(1 for _ in self._archive.list_runs(Query()))
        return Sealed(generation, runs, len(records), _size(records), new)

    def _look(self) -> None:
        self._found = standing(self._folder)
        self._there, self._last, self._before = self._found
        self._elsewhere = (
            verify.read_fetch(self._folder.read(verify.FETCH))
            if verify.FETCH in self._before
            else {}
        )

    def _end(self) -> None:
        """Take the last step of a call that was killed before it."""
        if SEALING not in self._there:
            return
        if self._folder.read(SEALING) == _sealing(self._last):
            self._folder.remove(SEALING)
            del self._there[SEALING]

    def _check_sealed(self) -> None:
        """What was sealed is there still."""
        for path in self._before:
            if path not in self._there and path not in self._elsewhere:
                raise IntegrityError(f"{self._archive.address}/{path} is missing; restore it")

    def _check_tags(self) -> None:
        """What a seal covers besides the payload is as it was: these are few files, and small."""
        for path, digest in self._before.items():
            if not path.startswith(DATA) and self._digest(path) != digest:
                raise IntegrityError(
                    f"{self._archive.address}/{path} is not as it was sealed; restore it "
                    "(`trackbridge audit check` looks at the payload too)"
                )

    def _check(self, payload: Mapping[str, Content]) -> None:
        """Everything is there that was written, and nothing else."""
        for path, content in payload.items():
            size = self._there.get(path)
            if size not in (content.size, UNTOLD):
                what = "is missing" if size is None else f"has {size} bytes, not {content.size}"
                raise IntegrityError(f"{self._archive.address}/{path} {what}; restore it")
        self._check_pages(payload)
        known = {*payload, *self._before, *OWN}
        for path in self._there:
            if not (path in known or path.startswith(f"{verify.SEALS}/")):
                raise ConfigError(
                    f"{self._archive.address}/{path} is no file of the archive; move it elsewhere"
                )

    def _check_pages(self, payload: Mapping[str, Content]) -> None:
        """Pages that were made to be sealed now show the records as they are now."""
        inside = pages.folder_of(self._last + 1)
        made = pages.read(self._folder, inside)
        if made and made.state != pages.state_of(payload):
            raise ConfigError(
                f"{self._archive.address}/{inside} shows the archive as it was before something "
                "was added; make it anew with `trackbridge audit view`"
            )

    def _describe(self, payload: Mapping[str, Content]) -> dict[str, Content]:
        """Every file of the bag's payload, once its descriptions are in it."""
        contents = {**self._sealed(), **payload}
        contents |= {
            path: Content(size, path.rpartition("/")[2])
            for path, (_, size) in self._elsewhere.items()
            if path not in self._there
        }
        made = describe(self._archive, self._archive.tables, payload, self._scratch)
        for path, local in made.items():
            contents[path] = self._replace(path, local)
        return {path: content for path, content in contents.items() if path.startswith(DATA)}

    def _sealed(self) -> dict[str, Content]:
        """The payload of the newest seal."""
        sealed = ((path, digest) for path, digest in self._before.items() if path.startswith(DATA))
        sizes = {path: size for path, (_, size) in self._elsewhere.items()} | self._there
        return {path: Content(sizes[path], digest) for path, digest in sealed}

    def _referred(self, payload: Mapping[str, Content]) -> dict[str, tuple[str, int]]:
        """Files that were left where they are: by their path, if they were here, URL and bytes.

        Those whose digest nobody knows can be in no manifest.
        """
        found = {}
        for path in payload:
            if path.startswith(f"{DATA}files/"):
                with self._folder.fetch(path) as local:
                    rows = pq.read_table(
                        local,
                        columns=["reference", "size", "sha256"],
                        filters=~pc.field("reference").is_null() & ~pc.field("sha256").is_null(),
                    )
                for row in rows.to_pylist():
                    url, size, digest = row["reference"], row["size"], row["sha256"]
                    if size is not None and bag.is_digest(digest) and _URL.fullmatch(url):
                        found[bag.content_path(digest)] = (url, size)
        return {path: place for path, place in found.items() if path not in payload}

    def _tag(self, records: Mapping[str, Content]) -> None:
        """Make it a bag."""
        killed = f"{folder_of(self._last + 1)}/"  # what an earlier call may have left there
        for path in [path for path in self._there if path.startswith(killed)]:
            self._folder.remove(path)
            del self._there[path]
        self._put(verify.BAGIT, verify.BAGIT_TEXT)
        if self._elsewhere:
            self._put(verify.FETCH, bag.fetch(self._elsewhere))
        self._put(INFO, bag.info(records.values(), f"Trackbridge {__version__}", _now()))
        self._put(MANIFEST, bag.manifest({path: c.sha256 for path, c in records.items()}))
        self._put_aside(TAG_MANIFEST)  # for it lists what is put aside
        tags = {path for path, _ in self._folder.tree() if not path.startswith((DATA, SCRATCH))}
        tags -= {SEALING, TAG_MANIFEST}
        self._put(TAG_MANIFEST, bag.manifest({path: self._digest(path) for path in tags}))

    def _sign(self, records: Mapping[str, Content]) -> None:
        """Write the seal; it is there once its envelope is."""
        folder = folder_of(self._last + 1)
        stamp = None
        if self._tsa:
            token = ask(self._tsa, self._folder.read(TAG_MANIFEST))
            self._put(f"{folder}/{verify.TOKEN}", token)
            stamp = {"sha256": hashlib.sha256(token).hexdigest()}
        statement = {
            "_type": verify.STATEMENT_TYPE,
            "subject": [{"name": TAG_MANIFEST, "digest": {"sha256": self._digest(TAG_MANIFEST)}}],
            "predicateType": verify.PREDICATE_TYPE,
            "predicate": {
                "generation": self._last + 1,
                "sealed": _now().isoformat(timespec="seconds"),
                "previous": self._previous(),
                "timestamp": stamp,
                "files": len(records),
                "bytes": _size(records),
                "by": f"Trackbridge {__version__}",
            },
        }
        payload = _text(statement)
        signature = self._key.sign(verify.pre_authentic(payload))
        self._put(f"{folder}/{verify.KEY}", verify.write_public_key(self._key.public))
        envelope = verify.write_envelope(payload, self._key.id, signature)
        self._put(f"{folder}/{verify.SEAL}", envelope)

    def _previous(self) -> dict[str, str] | None:
        """What names the seal before this one."""
        if not self._last:
            return None
        seal = self._digest(f"{folder_of(self._last)}/{verify.SEAL}")
        return {"seal": seal, "tagmanifest": self._before[TAG_MANIFEST]}

    def _put(self, path: str, data: bytes) -> None:
        local = self._scratch / "put"
        local.write_bytes(data)
        self._replace(path, local)

    def _replace(self, path: str, local: Path) -> Content:
        """Put a file in its place; what the newest seal has there is put aside first."""
        content = Content(local.stat().st_size, _digest(local.open("rb")))
        if path not in self._there or self._digest(path) != content.sha256:
            self._put_aside(path)
            self._publish(local, path)
        return content

    def _put_aside(self, path: str) -> None:
        """Keep a file as the newest seal has it; nothing where it has none, or another."""
        if path in self._before and self._digest(path) == self._before[path]:
            with self._folder.fetch(path) as there:
                shutil.copyfile(there, self._scratch / "aside")
            self._publish(self._scratch / "aside", f"{folder_of(self._last)}/{path}")

    def _publish(self, local: Path, path: str) -> None:
        self._folder.publish(local, path)
        self._folder.settle([path])

    def _digest(self, path: str) -> str:
        return _digest(self._folder.open(path))


def _digest(file: BinaryIO) -> str:
    with file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
        return digest.hexdigest()


def _size(contents: Mapping[str, Content]) -> int:
    return sum(content.size for content in contents.values())


def _sealing(generation: int) -> bytes:
    """What says that a generation is being sealed."""
    return _text({"generation": generation})


def _text(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _now() -> datetime:
    return datetime.now(timezone.utc)
