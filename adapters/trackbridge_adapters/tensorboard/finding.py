"""Finds event files below a log folder; recognizing one needs nothing else."""

from __future__ import annotations

import os
import re
from collections import deque
from pathlib import Path

MARK = "tfevents"
"""What the names of event files have in them (`IsTensorFlowEventsFile` of io_wrapper.py, 2.21)."""
LOOKED_AT = 5000
"""Entries of folders that are looked at to recognize a log folder."""
OTHER_STORES = frozenset({"meta.yaml", "trackbridge.json"})
"""Files of stores that may have event files among those of their runs."""
VERSION = b"brain.Event:"
"""What the first record of an event file says."""
_ARTIFACTS = re.compile(r"[0-9a-f]{32}/artifacts(?:$|/)")
"""The folder of an MLflow run's files."""


def recognizes(location: Path) -> bool:
    """Whether there are event files below, other than in stores of another kind."""
    if not location.is_dir():
        return False
    folders, left = deque([""]), LOOKED_AT
    while folders and left > 0:
        folder = folders.popleft()
        files, inner = _entries(location / folder)
        left -= len(files) + len(inner)
        if _ARTIFACTS.search(folder) or any(map(_is_of_another_store, files)):
            continue
        if any(is_event_file(name) and _begins_well(location / folder / name) for name in files):
            return True
        folders.extend(f"{folder}/{name}" if folder else name for name in inner)
    return False


def is_event_file(name: str) -> bool:
    return MARK in name


def _is_of_another_store(name: str) -> bool:
    return name in OTHER_STORES or name.endswith(".wandb")


def _begins_well(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return VERSION in file.read(64)
    except OSError:
        return False


def _entries(folder: Path) -> tuple[list[str], list[str]]:
    """Files and folders in a folder, links left out; nothing where it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            known = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return [], []
    files = [entry.name for entry in known if entry.is_file(follow_symlinks=False)]
    return files, [entry.name for entry in known if entry.is_dir(follow_symlinks=False)]
