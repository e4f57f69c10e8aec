"""A folder with one file for each table of the run model, and the commit that says what is in it.

    trackbridge.json            the commit: how long each file is, and which rows belong together
    runs.csv, metrics.csv, ...  the tables; rows that the commit does not count are not there
    origins.csv, contents.csv   where runs were born; which file has which bytes
    files/<sha256>.<suffix>     the bytes

Rows of runs that were written together are a part of each file. Files only grow, until a run is
replaced: then they are written anew beside the old ones, the commit names them, and they take
their places. Whatever kills a writer in between, the commit tells which bytes count.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from trackbridge.disk import sync_folder, system_errors
from trackbridge.errors import ConfigError, IntegrityError

COMMIT = "trackbridge.json"
WRITING = ".trackbridge-writing"
"""There while somebody writes, and after a writer was killed."""
LOCK = ".trackbridge-lock"
STAGED = ".trackbridge-new"
"""Folder of the tables that are to take the places of others."""
FILES = "files"
VERSION = 1
KIND = "tables"


class Part(NamedTuple):
    """Bytes of a table."""

    offset: int
    size: int
    sha256: str


@dataclass(frozen=True)
class Chunk:
    """Runs that were written together: how many are left of them, and their rows by table."""

    runs: int
    parts: Mapping[str, Part]


@dataclass(frozen=True)
class Commit:
    """What is in a folder. `shared` are tables that are one part; `files` those of the store."""

    scheme: str
    revision: int = 0
    sizes: Mapping[str, int] = field(default_factory=dict)
    chunks: tuple[Chunk, ...] = ()
    shared: Mapping[str, Part] = field(default_factory=dict)
    files: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    """Files of the store itself: where the bytes lie, and how many."""
    staged: tuple[str, ...] = ()
    """Tables that lie in `STAGED` until they have taken their places."""

    def dumps(self) -> bytes:
        document = {
            "kind": KIND,
            "format": self.scheme,
            "version": VERSION,
            "revision": self.revision,
            "sizes": dict(sorted(self.sizes.items())),
            "chunks": [[c.runs, dict(sorted(c.parts.items()))] for c in self.chunks],
            "shared": dict(sorted(self.shared.items())),
            "files": dict(sorted(self.files.items())),
            "staged": list(self.staged),
        }
        return json.dumps(document, indent=1).encode() + b"\n"

    @classmethod
    def loads(cls, data: bytes, where: str) -> Commit:
        """Raises `IntegrityError` for what is none, `ConfigError` for one of a later version."""
        try:
            found = json.loads(data)
            if found["version"] != VERSION:
                raise ConfigError(f"{where}: written by a later version; update trackbridge")
            return cls(
                str(found["format"]),
                int(found["revision"]),
                {name: int(size) for name, size in found["sizes"].items()},
                tuple(Chunk(int(runs), _parts(parts)) for runs, parts in found["chunks"]),
                _parts(found["shared"]),
                {name: (str(at), int(size)) for name, (at, size) in found["files"].items()},
                tuple(map(str, found["staged"])),
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise IntegrityError(f"{where} is damaged ({error}); restore it") from error


def _parts(found: Mapping[str, Any]) -> dict[str, Part]:
    parts = {n: Part(int(o), int(size), str(digest)) for n, (o, size, digest) in found.items()}
    if any(part.offset < 0 or part.size < 0 for part in parts.values()):
        raise ValueError("a part that is nowhere")
    return parts


def is_commit(data: bytes, scheme: str) -> bool:
    """Whether this is the commit of a folder of tables in a format."""
    found = json.loads(data)
    return isinstance(found, dict) and (found.get("kind"), found.get("format")) == (KIND, scheme)


def load(root: Path, scheme: str) -> Commit:
    """The commit of a folder; an empty one where there is none."""
    path = root / COMMIT
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return Commit(scheme)
    return Commit.loads(data, str(path))


def put(root: Path, commit: Commit) -> None:
    """Make this what is in the folder: the only act that does."""
    path = root / COMMIT
    made = path.with_name(f".{COMMIT}")
    with system_errors(path):
        with made.open("wb") as file:
            file.write(commit.dumps())
            file.flush()
            os.fsync(file.fileno())
        made.replace(path)
        sync_folder(root)


def cut_back(root: Path, path: Path, size: int) -> None:
    """Take away what was added to a table; it counts as old as the commit, as it was before."""
    os.truncate(path, size)
    age = (root / COMMIT).stat().st_mtime_ns
    os.utime(path, ns=(age, age))


def place_of(root: Path, commit: Commit, table: str) -> Path:
    """Where the rows of a table lie: as the commit says, whether or not its files are in place."""
    name = f"{table}.{commit.scheme}"
    staged = root / STAGED / name
    return staged if table in commit.staged and staged.exists() else root / name


def settle(root: Path, commit: Commit) -> Commit:
    """Give staged tables their places."""
    if not commit.staged:
        return commit
    with system_errors(root):
        for table in commit.staged:
            name = f"{table}.{commit.scheme}"
            if (root / STAGED / name).exists():
                (root / STAGED / name).replace(root / name)
        sync_folder(root)
    settled = replace(commit, staged=())
    put(root, settled)
    return settled
