"""Where a page finds the bytes of files: in the archive that it lies in, or as copies beside it."""

from __future__ import annotations

import mimetypes
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from trackbridge.adapter import FileRef, Row, RunRef
from trackbridge.audit.seal import Archive
from trackbridge.audit.viewing.media import MOST, kind_of
from trackbridge.errors import IntegrityError, NotFoundError

SHOWN = ("image", "audio", "video")


class Place(NamedTuple):
    """What a page may do with a file (see `kind_of`), and a link to it; None where none leads."""

    kind: str
    link: str | None


NOWHERE = Place("", None)
KEPT = Place("kept", None)
"""Bytes that are in the archive, from which these pages are apart."""
LOST = Place("lost", None)
"""Bytes that should be there, and are not as they should be: a check names them."""


class Contents:
    """The contents of an archive, by their digests."""

    def __init__(self, archive: Archive, paths: Mapping[str, str], copies: Path | None) -> None:
        """`paths` says where in the archive the bytes with a digest lie; `copies` is the folder of
        pages that lie elsewhere: what they show is copied to it."""
        self._archive = archive
        self._paths = paths
        self._copies = copies
        self._known: dict[str, Place] = {}

    def place(self, run: RunRef, file: Row) -> Place:
        """Of a row of the table files."""
        digest = file["sha256"]
        if digest not in self._paths:
            return NOWHERE
        if self._copies and not _may_be_shown(file):
            return KEPT
        if digest not in self._known:
            try:
                self._known[digest] = (
                    self._copied(digest, FileRef(run, file["owner"], file["path"]), self._copies)
                    if self._copies
                    else self._linked(digest)
                )
            except (NotFoundError, IntegrityError):
                self._known[digest] = LOST
        return self._known[digest]

    def _linked(self, digest: str) -> Place:
        path = self._paths[digest]
        kind, _ = self._looked_at(path)
        return Place(kind, None if kind == "active" else f"../../../{path}")

    def _copied(self, digest: str, file: FileRef, to: Path) -> Place:
        kind, suffix = self._looked_at(self._paths[digest])
        if kind not in SHOWN:
            return KEPT
        copy = to / f"{digest}.{suffix}"
        try:
            with self._archive.open_file(file) as source, copy.open("wb") as out:
                shutil.copyfileobj(source, out, 1 << 20)
        except IntegrityError:
            copy.unlink()
            raise
        return Place(kind, copy.name)

    def _looked_at(self, path: str) -> tuple[str, str]:
        with self._archive.folder.open(path) as file:
            return kind_of(file.read(MOST))


def _may_be_shown(file: Row) -> bool:
    kind = file["media_type"] or mimetypes.guess_type(file["path"])[0] or ""
    return kind.startswith(SHOWN)
