"""Files of a run that lie within its event files: where, and what is known of them."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple


class Content(NamedTuple):
    """Bytes of a file of the run: a part of an event file, or a file of its own."""

    file: Path
    offset: int
    size: int
    sha256: str | None = None
    media_type: str | None = None


class Contents(Mapping[str, Content]):
    """By path, in columns: an object for each of so many would have Python look through all."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._files: list[Path] = []
        self._offsets, self._sizes = array("q"), array("q")
        self._digests: list[str | None] = []
        self._types: list[str | None] = []

    def put(self, path: str, content: Content) -> None:
        """Have a file at a path, instead of one that was there."""
        file, offset, size, digest, media_type = content
        self._rows[path] = len(self._files)
        self._files.append(file)
        self._offsets.append(offset)
        self._sizes.append(size)
        self._digests.append(digest)
        self._types.append(media_type)

    def __getitem__(self, path: str) -> Content:
        row = self._rows[path]
        place = self._files[row], self._offsets[row], self._sizes[row]
        return Content(*place, self._digests[row], self._types[row])

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def columns(self) -> dict[str, Any]:
        """The rows of `files`, by column."""
        rows = list(self._rows.values())
        return {
            "owner": [""] * len(rows),
            "path": list(self._rows),
            "size": [self._sizes[row] for row in rows],
            "sha256": [self._digests[row] for row in rows],
            "media_type": [self._types[row] for row in rows],
        }


def content_of(file: Path, offset: int, data: bytes, media_type: str | None) -> Content:
    """A part of an event file."""
    return Content(file, offset, len(data), hashlib.sha256(data).hexdigest(), media_type)
