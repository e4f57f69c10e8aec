"""Finds run folders, and the `.wandb` file in each; recognizing a store needs nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from trackbridge_adapters.wandb.marks import only_left_behind

OFFLINE = "offline-"
FOLDER = re.compile(r"(?:offline-)?run-(\d{8}_\d{6})-(.+)")


def run_folders(location: Path) -> Iterator[Path]:
    """Run folders, or the one `.wandb` file, that a location stands for."""
    if location.is_file():
        named = location.suffix == ".wandb" and FOLDER.fullmatch(location.parent.name)
        yield location.parent if named else location
    elif _is_run_folder(location):
        yield location
    else:
        for parent in (location, location / "wandb", location / ".wandb"):
            if parent.is_dir():
                yield from filter(_is_run_folder, parent.iterdir())


def recognizes(location: Path) -> bool:
    """Whether there is a `.wandb` file where one belongs, or a writer of ours has begun here."""
    if location.is_file():
        return location.suffix == ".wandb"
    if not location.is_dir():
        return False
    return any(wandb_file(path) for path in run_folders(location)) or only_left_behind(location)


def _is_run_folder(path: Path) -> bool:
    named = FOLDER.fullmatch(path.name) is not None
    return named and path.is_dir() and not path.is_symlink()


def time_order(path: Path) -> tuple[str, str]:
    match = FOLDER.fullmatch(path.name)
    return (match.group(1) if match else "", path.name)


def wandb_file(folder: Path) -> Path | None:
    if folder.is_file():
        return folder
    return min(folder.glob("run-*.wandb"), default=None)
