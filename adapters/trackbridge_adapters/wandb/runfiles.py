"""The files of a run, in its `files/` folders: which there are, and where their bytes lie."""

from __future__ import annotations

import filecmp
from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from trackbridge.adapter import SIDECAR
from trackbridge_adapters.wandb.artifacts import is_inside
from trackbridge_adapters.wandb.facts import Facts
from trackbridge_adapters.wandb.folders import Folder, Run

FOLDER = "files"
MADE_BY_SYNC = ("config.yaml", "output.log", "wandb-metadata.json", "wandb-summary.json")
"""What `wandb sync` (0.31) leaves in a run folder beside the files that it found there."""


class RunFile(NamedTuple):
    """A file as `files` shows it; where it lies, or why its bytes cannot be had."""

    path: str
    size: int | None
    place: Path | None
    damage: str | None = None


def run_files(run: Run, facts: Facts) -> list[RunFile]:
    """Files of the run itself, in order.

    Where a later folder has another file of the same path, the earlier one is shown below the
    name of its folder. Files that the run recorded as saved and that are not there are damage.
    """
    found: dict[str, RunFile] = {}
    written_by_us = bool(facts.origin())
    for folder in run.folders:
        for file in _of_folder(folder, facts.saved):
            if run.carried and file.path == SIDECAR:
                continue
            if written_by_us and file.path in MADE_BY_SYNC and file.path not in facts.placed:
                continue
            other = found.get(file.path)
            if other is not None and not _same(other, file):
                earlier = f"{_owner(run, other)}/{other.path}"
                found[earlier] = other._replace(path=earlier)
            found[file.path] = file
    for path in () if written_by_us else facts.saved:
        if path not in found and _is_lost(run, path):
            found[path] = RunFile(path, None, None, "the file is missing")
    return sorted(found.values())


def own_file(folder: Path, path: str) -> Path | None:
    """A file of Trackbridge's own, which no table shows."""
    place = folder / path
    return place if place.is_file() and _within(place, folder) else None


def _of_folder(folder: Folder, saved: Collection[str]) -> Iterator[RunFile]:
    root = folder.path / FOLDER
    for file in folder.files():
        top, _, path = file.path.partition("/")
        if top != FOLDER or not path:
            continue
        place = root / path
        if not place.is_symlink():
            yield RunFile(path, file.size, place)
        elif not place.exists():
            yield RunFile(path, None, None, "the link leads nowhere")
        elif place.is_dir():
            yield from _of_linked_folder(folder, place, path, saved)
        elif _within(place, folder.path) or _matches(path, saved):
            yield RunFile(path, place.stat().st_size, place)
        else:
            yield RunFile(path, None, None, "the link leads out of the run folder")


def _of_linked_folder(
    folder: Folder, place: Path, path: str, saved: Collection[str]
) -> Iterator[RunFile]:
    if not _matches(path, saved):
        yield RunFile(path, None, None, "the link leads to a folder")
        return
    for inner in sorted(place.rglob("*")):
        if inner.is_file() and not inner.is_symlink():
            name = f"{path}/{inner.relative_to(place).as_posix()}"
            yield RunFile(name, inner.stat().st_size, inner)


def _within(place: Path, folder: Path) -> bool:
    return place.resolve().is_relative_to(folder.resolve())


def _matches(path: str, saved: Collection[str]) -> bool:
    return path in saved or any(_is_pattern(p) and fnmatchcase(path, p) for p in saved)


def _is_pattern(path: str) -> bool:
    return any(mark in path for mark in "*?[")


def _is_lost(run: Run, path: str) -> bool:
    """Whether a path that was saved, and is not there, was that of one file."""
    if not is_inside(path) or _is_pattern(path):
        return False
    return not any((folder.path / FOLDER / path).is_dir() for folder in run.folders)


def _same(one: RunFile, other: RunFile) -> bool:
    if one.place is None:
        return True
    if other.place is None or one.size != other.size:
        return False
    return filecmp.cmp(one.place, other.place, shallow=False)


def _owner(run: Run, file: RunFile) -> str:
    for folder in run.folders:
        if file.place is not None and file.place.is_relative_to(folder.path):
            return folder.path.name
    return run.folders[0].path.name
