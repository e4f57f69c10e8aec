"""Run folders: which of them are one run, and what it says of itself up front."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from trackbridge.adapter import RunKey, RunRef
from trackbridge_adapters.wandb.facts import Facts, origin_key
from trackbridge_adapters.wandb.finding import FOLDER, OFFLINE, run_folders, time_order, wandb_file
from trackbridge_adapters.wandb.framing import BLOCK, Damage, read_records
from trackbridge_adapters.wandb.marks import STAGING, staging_of
from trackbridge_adapters.wandb.records import Record, peek

LOOK_AHEAD = 1024 * 1024
"""Bytes within which the server's answer to an online run is looked for."""


class File(NamedTuple):
    """A file below a run folder; `path` with forward slashes."""

    path: str
    size: int
    changed: int


State = tuple[int, int, int]
"""Inode, size and time of change of a file."""


@dataclass
class Folder:
    """One run folder: what one process has logged of a run."""

    path: Path
    wandb: Path | None
    run_id: str
    facts: Facts = field(default_factory=Facts)
    """As they are at the run record; not kept up to date."""
    state: State | None = None
    """Of the `.wandb` file, just before it was read."""

    @property
    def ref(self) -> RunRef:
        return RunRef(self.facts.project, self.run_id)

    def files(self) -> list[File]:
        """Every file below, links not followed, in order."""
        return sorted(_walk(self.path, "")) if self.path.is_dir() else []


@dataclass
class Run:
    """The folders of one run, in the order in which they were written."""

    folders: list[Folder]

    @property
    def ref(self) -> RunRef:
        return self.folders[0].ref

    @property
    def key(self) -> RunKey:
        return origin_key(self.folders[-1].facts) or RunKey("wandb", "", *self.ref)

    @property
    def carried(self) -> bool:
        return origin_key(self.folders[-1].facts) is not None

    def staged(self) -> list[File]:
        """The bytes of its artifacts that we put beside the run, if we wrote it."""
        if not self.carried:
            return []
        place = staging_of(self.folders[-1].path.parent, self.ref)
        return sorted(_walk(place, STAGING + "/")) if place.is_dir() else []

    def fingerprint(self, files: list[File]) -> str:
        state = hashlib.sha256()
        for file in files:
            state.update(f"{file.path}\0{file.size}\0{file.changed}\n".encode(errors="replace"))
        return state.hexdigest()


def find_runs(location: Path, known: dict[Path, Folder]) -> list[Run]:
    """The runs of a location, ordered by project and id.

    `known` are folders as they were found before: only what has changed is read again, since a
    migration looks for its runs after each chunk. They are brought up to date.
    """
    before = dict(known)
    known.clear()
    runs: dict[RunRef, Run] = {}
    for path in sorted(run_folders(location), key=time_order):
        known[path] = folder = _unchanged(before.get(path)) or open_folder(path)
        runs.setdefault(folder.ref, Run([])).folders.append(folder)
    return [runs[ref] for ref in sorted(runs)]


def _unchanged(folder: Folder | None) -> Folder | None:
    """The folder, unless it has to be opened again."""
    if folder is None or folder.wandb is None:
        return None
    with suppress(FileNotFoundError):
        return folder if _state(folder.wandb) == folder.state else None
    return None


def _state(path: Path) -> State:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def open_folder(path: Path) -> Folder:
    """A run folder with what its file says up to the run record."""
    wandb = wandb_file(path)
    match = FOLDER.fullmatch(path.name)
    stem = wandb.stem.removeprefix("run-") if wandb else ""
    folder = Folder(path, wandb, stem or (match.group(2) if match else path.name))
    if wandb is not None:
        folder.state = _state(wandb)
        online = not path.name.startswith(OFFLINE)
        for facts in _run_records(wandb):
            folder.facts = facts
            folder.run_id = facts.run.run_id or folder.run_id
            if facts.run.entity or not online:
                break
    return folder


def exit_record(path: Path) -> Any:
    """The exit record at the end of a `.wandb` file; None where there is none."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        for length in (2 * BLOCK, LOOK_AHEAD):
            base = max(0, size - length) // BLOCK * BLOCK
            stream.seek(base)
            for _, data in reversed(list(read_records(stream, [], base))):
                if peek(data) == "exit":
                    with suppress(DecodeError):
                        return Record.FromString(data).exit
            if not base:
                break
    return None


def _run_records(path: Path) -> Iterator[Facts]:
    """The facts at each run record: an online run has one more, with the server's answer."""
    facts, damage = Facts(), list[Damage]()
    with path.open("rb") as stream:
        for offset, data in read_records(stream, damage):
            if offset > LOOK_AHEAD:
                return
            if peek(data) == "run":
                try:
                    facts.apply("run", Record.FromString(data))
                except DecodeError:
                    continue
                yield facts


def _walk(folder: Path, prefix: str) -> Iterator[File]:
    with os.scandir(folder) as entries:
        for entry in entries:
            path = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path), path + "/")
            else:
                status = entry.stat(follow_symlinks=False)
                yield File(path, status.st_size, status.st_mtime_ns)
