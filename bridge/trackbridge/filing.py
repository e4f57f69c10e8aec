"""Which files' bytes are moved, and what is kept of the others."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from trackbridge.adapter import FileRef, Reader, Row, RunRef
from trackbridge.errors import ConfigError
from trackbridge.fit import example
from trackbridge.losses import Losses
from trackbridge.optional import Located

if TYPE_CHECKING:
    from trackbridge.sidecar import Overlay

COPY, REFERENCE, SKIP = "copy", "reference", "skip"
WAYS = (COPY, REFERENCE, SKIP)

UNITS = {
    **{unit: 1000**power for power, unit in enumerate(("b", "kb", "mb", "gb", "tb"))},
    **{unit: 1024**power for power, unit in enumerate(("kib", "mib", "gib", "tib"), 1)},
}
LEFT = {False: "files kept as addresses", True: "files left out"}
"""What losses call files that stay at the source, by whether nothing is kept of them."""
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.IGNORECASE)


@dataclass(frozen=True)
class FileChoice:
    """What becomes of files: `copy` moves them, up to `limit` bytes if there is one.

    Of larger ones, and of all with `reference`, their addresses at the source are kept, with size
    and digest as far as they are known; with `skip` the copy of a run has no files. Files that
    live elsewhere are references anyway. A file whose size is not known counts as small.
    """

    way: str = COPY
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.way not in WAYS:
            raise ConfigError(f"artifacts: {self.way!r} is none of {', '.join(WAYS)}")
        if self.limit is not None and self.way != COPY:
            raise ConfigError(f"a limit of size says nothing where artifacts are to {self.way}")

    @property
    def is_whole(self) -> bool:
        """Whether every file is moved."""
        return self.way == COPY and self.limit is None

    @property
    def extent(self) -> tuple[int, int]:
        """Greater for a choice that brings more; `is_whole` is greater than any."""
        most = 2**63 if self.limit is None else self.limit
        return (most if self.way == COPY else -1, self.way != SKIP)

    @classmethod
    def of(cls, extent: Sequence[int] | None) -> FileChoice:
        """The choice of an extent; None: the one that is whole."""
        if extent is None:
            return WHOLE
        limit, keeps = extent
        return cls(limit=limit) if limit >= 0 else cls(REFERENCE if keeps else SKIP)

    def leaves(self, row: Row) -> bool:
        """Whether the bytes of a file stay at the source by this choice."""
        if row["reference"] or self.is_whole:
            return False
        return self.way != COPY or (row["size"] or 0) > (self.limit or 0)

    def apply(self, rows: Iterable[Row], overlay: Overlay, losses: Losses) -> list[Row]:
        """Rows of `files` as they are to be moved; the losses say what stays at the source."""
        rows = list(rows)
        left = [row for row in rows if self.leaves(row)]
        if not left:
            return rows
        what = LEFT[self.way == SKIP]
        size = sum(row["size"] or 0 for row in left)
        losses.add(what, example(left), len(left), kept=False)
        losses.add(f"{what}, in bytes", "they stay at the source", size, kept=False)
        return [row for row in map(self._kept(overlay), rows) if row is not None]

    def _kept(self, overlay: Overlay) -> Callable[[Row], Row | None]:
        def kept(row: Row) -> Row | None:
            if not self.leaves(row):
                return row
            if self.way == SKIP:
                return None
            run = RunRef(row["project"], row["run_id"])
            file = overlay.locate(run, row["owner"] or "", row["path"])
            return {**row, "reference": address(overlay.reader, file)}

        return kept


WHOLE = FileChoice()
"""Every file is moved."""


def address(reader: Reader, file: FileRef) -> str:
    """Where a file of a store lies: a URL, where it has one, or what tells people."""
    url = reader.url(file) if isinstance(reader, Located) else None
    if url is not None:
        return url
    parts = (file.run.project, file.run.run_id, file.owner)
    return f"{reader.address}#{'/'.join(quote(part, safe='') for part in parts)}/{file.path}"


def parse_size(text: str) -> int:
    """Bytes, out of a text like 100MB, 1.5 GiB or 4096; `ConfigError` for anything else."""
    match = _SIZE.fullmatch(text.strip())
    unit = match[2].lower() if match else ""
    if match is None or (unit or "b") not in UNITS:
        raise ConfigError(f"{text!r} is no size; write it like 100MB, 2GiB or 4096 (bytes)")
    return int(float(match[1]) * UNITS[unit or "b"])
