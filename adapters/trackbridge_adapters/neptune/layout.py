"""Where the files of an export lie, in every layout that the exporter has had."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from trackbridge.errors import BridgeError, ConfigError, NotFoundError

NEEDED = frozenset({"project_id", "run_id", "attribute_path", "attribute_type"})
"""Columns that every version has written (model.py, October 2025 to May 2026)."""
SUFFIX = ".parquet"
UNFINISHED = f"{SUFFIX}.tmp"
"""Of a part whose run was not exported to its end."""
MODELS = {"models": "model", "model_versions": "model version"}
"""Folders in that of a project, where registered models lie -> what one of these is."""
ERRORS = "neptune_exporter_errors.jsonl"
MOST_LOOKED_AT = 5
"""Parts whose columns tell whether a folder is an export."""
DIGEST = 16
"""Hexadecimal digits behind the names of folders and parts."""


@dataclass(frozen=True)
class Layout:
    """The folder with parts, and where the rest lies beside it."""

    data: Path
    home: Path
    """What the data folder lies in."""

    @classmethod
    def of(cls, location: Path) -> Layout | None:
        """The export at a location: its folder, its data folder, or the folder of a project."""
        for data, home in (
            (location / "data", location),
            (location, location.parent),
            (location / "model_data", location),
        ):
            if data.is_dir() and next(_parts(data), None):
                return cls(data, home)
        return None

    def parts(self) -> list[Path]:
        """Files with rows of runs, and of registered models, which have the same form."""
        roots = dict.fromkeys((self.data, self.home / "model_data"))
        return sorted({path for root in roots if root.is_dir() for path in _parts(root)})

    def files(self, part: Path) -> Iterator[Path]:
        """Folders that the paths of a part may be meant from, the likeliest first."""
        is_model = entity(part) is not None
        folder = part.parent.parent if is_model else part.parent
        if folder == self.data:  # the location is the folder of a project
            yield folder.parent.parent / "files" / folder.name
        roots = ("model_files", "files") if is_model else ("files",)
        for root in (self.home / name for name in roots):
            yield from (root / folder.name, root / without_digest(folder.name), root)

    def errors(self) -> Path | None:
        """What the exporter could not fetch, where its report lies in the export."""
        places = (self.home / ERRORS, self.data / ERRORS)
        return next((path for path in places if path.is_file()), None)


def entity(part: Path) -> str | None:
    """What a file has rows of, if not of runs."""
    return MODELS.get(part.parent.name)


def is_export(location: Path) -> bool:
    """Whether some of the first parts in a folder have the columns of an export."""
    layout = Layout.of(location)
    if layout is None:
        return False
    return any(map(_has_columns, islice(_parts(layout.data), MOST_LOOKED_AT)))


def open_export(location: Path, address: str) -> Layout:
    """The layout of an export; `NotFoundError` where none is."""
    with native_errors(address):
        layout = Layout.of(location) if location.is_dir() else None
    if layout is None:
        raise NotFoundError(
            f"{address}: no export of Neptune is there; name the folder that neptune-exporter"
            " wrote, with data/ and files/ in it"
        )
    return layout


def _parts(data: Path) -> Iterator[Path]:
    for pattern in ("*", "*/*", *(f"*/{kind}/*" for kind in MODELS)):
        for end in (SUFFIX, UNFINISHED):
            yield from (path for path in data.glob(pattern + end) if path.is_file())


def _has_columns(path: Path) -> bool:
    try:
        return set(pq.read_schema(path).names) >= NEEDED
    except (OSError, pa.ArrowException):
        return False


def without_digest(name: str) -> str:
    """A name of a folder or part as it was before November 2025, when digests were added."""
    head, dash, digest = name.rpartition("-")
    return head if dash and len(digest) == DIGEST else name


def id_of(name: str) -> str:
    """The id that a name was made of, where its digest proves it; else the name."""
    head = without_digest(name)
    digest = hashlib.blake2b(head.encode("utf-8", "replace"), digest_size=DIGEST // 2).hexdigest()
    return head if name == f"{head}-{digest}" else name


def run_name(part: Path) -> str | None:
    """The part of a file's name that stands for its run; None where several runs share it."""
    head, found, _ = part.name.rpartition("_part_")
    return head if found else None


@contextmanager
def native_errors(address: str) -> Iterator[None]:
    """Errors of the disk as errors that name the store."""
    try:
        yield
    except PermissionError as error:
        raise ConfigError(f"{address}: may not be read: {error}") from error
    except OSError as error:
        raise BridgeError(f"{address}: cannot be read: {error}") from error
