"""Where tables lie: the files that an address means, as bytes on this machine."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import pyarrow as pa

from trackbridge.errors import ConfigError, NotFoundError
from trackbridge.folder import open_folder, storage_errors
from trackbridge_adapters.tables.layout import COMMIT, LOCK, WRITING, is_commit

SUFFIXES = {"csv": ("csv", "tsv"), "jsonl": ("jsonl", "ndjson")}
"""Of files in a folder; a file that is named alone may be called as it likes."""
PACKED = {"gz": "gzip", "bz2": "bz2", "zst": "zstd", "lz4": "lz4"}
UNPACKED = 1 << 16
"""Bytes that are unpacked at a time: where a file breaks off, no more than these are lost."""
_REMOTE = re.compile(r"[a-zA-Z][\w+.-]+://")
_WILD = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class TableFile:
    """A file; `name` is its path below what the address names, without suffixes."""

    path: str
    name: str

    @property
    def packed(self) -> str | None:
        return PACKED.get(self.path.rpartition(".")[2].lower())

    def state(self) -> tuple[int, int] | None:
        """Another one for each state of the file; None where it is gone or costs a request."""
        try:
            found = None if _REMOTE.match(self.path) else Path(self.path).stat()
        except OSError:  # opening it says why
            return None
        return (found.st_size, found.st_mtime_ns) if found else None

    def open(self) -> Opened:
        """Its bytes, unpacked."""
        with storage_errors(self.path, passing=False):
            if _REMOTE.match(self.path):
                above, _, name = self.path.rpartition("/")
                with open_folder(above, {}).fetch(name) as local:
                    return _copied(local, self.packed)
            path = Path(self.path)
            return _copied(path, self.packed) if self.packed else Opened(path.open("rb"), None)


class Opened(NamedTuple):
    """A file in which positions can be returned to; `harm` says why its end is missing."""

    file: BinaryIO
    harm: str | None


def temporary() -> BinaryIO:
    """A file without a name, gone when it is closed."""
    return cast(BinaryIO, tempfile.TemporaryFile(prefix="trackbridge-"))


def _copied(path: Path, packed: str | None) -> Opened:
    """A temporary file with what is in another one, as far as that can be unpacked."""
    whole = temporary()
    harm = None
    with path.open("rb") as raw:
        source = pa.CompressedInputStream(raw, packed) if packed else raw
        try:
            while block := source.read(UNPACKED):
                whole.write(block)
        except OSError as error:
            if not packed:
                raise
            harm = f"cannot be unpacked to its end ({error})"
    whole.seek(0)
    return Opened(whole, harm)


def columns_option(scheme: str, location: str, options: Mapping[str, str]) -> str:
    """The option `columns`; `ConfigError` for another one."""
    unknown = sorted(options.keys() - {"columns"})
    if unknown:
        raise ConfigError(f"{scheme}:{location}: there is no option {', '.join(unknown)}")
    return options.get("columns", "")


def refuse_columns(scheme: str, location: str, columns: str) -> None:
    """`ConfigError` for a mapping of columns where there is nothing to be mapped."""
    if columns:
        raise ConfigError(
            f"{scheme}:{location}: holds the tables of the run model; --columns is of no use for it"
        )


def is_called_like_a_table(location: str, scheme: str) -> bool:
    """Whether a name has the suffix of a table."""
    return _suffix(location) in SUFFIXES[scheme]


def is_stored(location: str, scheme: str) -> bool:
    """Whether a folder holds the tables of the run model in this format, as we write them."""
    if _REMOTE.match(location):
        return False
    try:
        return is_commit(Path(location, COMMIT).read_bytes(), scheme)
    except (OSError, ValueError):
        return False


def is_table(location: str, scheme: str) -> bool:
    """Whether a path alone says that there is a table: by the name of the file, or of all files."""
    path = Path(location)
    if path.is_file():
        return _suffix(path.name) in SUFFIXES[scheme]
    if not path.is_dir():
        return False
    names = [entry.name for entry in os.scandir(path) if not entry.name.startswith(".")]
    return bool(names) and all(_suffix(name) in SUFFIXES[scheme] for name in names)


def check_target(location: str, scheme: str) -> None:
    """`ConfigError` for what cannot become a folder of tables."""
    if not location:
        raise ConfigError(f"{scheme}: names no folder; write {scheme}:./out")
    if _REMOTE.match(location):
        raise ConfigError(
            f"{scheme}:{location}: tables are written to a folder of this machine, since they "
            "grow; export to archive: for an object store"
        )
    path = Path(location)
    if path.is_file():
        raise ConfigError(f"{scheme}:{location} is a file; name a folder: one file for each table")
    if not path.is_dir():
        if is_called_like_a_table(location, scheme):
            raise ConfigError(
                f"{scheme}:{location}: tables are written to a folder, a file for each; call it "
                f"{scheme}:{location.rpartition('.')[0]}"
            )
        return
    there = {entry.name for entry in path.iterdir()} - {LOCK, WRITING, f".{COMMIT}"}
    if there and not is_stored(location, scheme):
        raise ConfigError(
            f"{scheme}:{location}: holds other files than tables of ours; name an empty folder"
        )


def find(location: str, scheme: str) -> list[TableFile]:
    """The files that a location means, in the order of their names.

    A file, a folder with all files below it that are called like tables, or a path with wildcards.
    """
    if not location:
        raise ConfigError(f"{scheme}: names no table; write {scheme}:points.{scheme}")
    if _REMOTE.match(location):
        found = _remote(location, scheme)
    elif Path(location).is_file():
        return [TableFile(location, _stem(Path(location).name))]
    elif Path(location).is_dir():
        found = _below(Path(location), Path(location).rglob("*"), scheme)
    elif _WILD.search(location):
        root = Path(_WILD.split(location)[0].rpartition("/")[0] or ".")
        pattern = location[len(f"{root}/") :] if location.startswith(f"{root}/") else location
        found = _below(root, root.glob(pattern), scheme)
    else:
        raise NotFoundError(f"{scheme}:{location}: no such file or folder")
    if not found:
        kinds = ", ".join(f".{suffix}" for suffix in SUFFIXES[scheme])
        raise NotFoundError(f"{scheme}:{location}: no file there is called like a table ({kinds})")
    return found


def _below(root: Path, paths: Iterable[Path], scheme: str) -> list[TableFile]:
    """The tables among some paths, but none in hidden folders: editors keep copies there."""
    files = sorted(path for path in paths if _suffix(path.name) in SUFFIXES[scheme])
    found = []
    for path in files:
        inside = path.relative_to(root)
        if path.is_file() and not any(part.startswith(".") for part in inside.parts):
            found.append(TableFile(str(path), _stem(inside.as_posix())))
    return found


def _remote(location: str, scheme: str) -> list[TableFile]:
    above, _, name = location.rstrip("/").rpartition("/")
    if _suffix(name) in SUFFIXES[scheme] or open_folder(above, {}).size(name) is not None:
        return [TableFile(location, _stem(name))]
    names = (path for path, _ in open_folder(location, {}).tree())
    tables = sorted(path for path in names if _suffix(path) in SUFFIXES[scheme])
    return [TableFile(f"{location.rstrip('/')}/{path}", _stem(path)) for path in tables]


def _suffix(name: str) -> str:
    """The suffix that says the format, before one that says how it is packed."""
    parts = name.lower().rsplit("/", 1)[-1].split(".")
    if len(parts) > 2 and parts[-1] in PACKED:
        parts.pop()
    return parts[-1] if len(parts) > 1 else ""


def _stem(name: str) -> str:
    """A name without the suffixes of formats and packing."""
    for suffixes in (PACKED, {s for known in SUFFIXES.values() for s in known} | {"json", "txt"}):
        stem, dot, suffix = name.rpartition(".")
        if dot and stem and suffix.lower() in suffixes:
            name = stem
    return name


def project_of(location: str) -> str:
    """What the project of runs is called that name none: like the file, or the folder."""
    path = _WILD.split(location)[0] if _WILD.search(location) else location
    if path != location:
        path = path.rpartition("/")[0]
    name = path.rstrip("/").rpartition("/")[2]
    if name in ("", ".", ".."):
        name = Path(path or ".").resolve().name
    return _stem(name) or "tables"
