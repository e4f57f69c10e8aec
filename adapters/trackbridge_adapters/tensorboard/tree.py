"""The folders below a log folder.

Links are followed, as both loaders of TensorBoard follow them (tensorboard 2.21, `walk` of gfile.py
and disk_logdir.rs). Left out is only a link that leads back: to what lies in the log folder and is
read there, or to a folder that the link itself lies in.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from trackbridge.adapter import ORIGIN
from trackbridge_adapters.tensorboard.finding import is_event_file

BACK = "links back into the log folder"
DEAD = "links that cannot be followed"


class Folder(NamedTuple):
    """A folder; paths are those below the log folder, which itself is ""."""

    path: str
    events: list[str]
    others: list[str]
    """Other files: its own, and those of folders below it that have no event files."""
    is_linked: bool
    """Whether it lies elsewhere, behind a link."""


class Tree:
    """A walk through a log folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._place = root.resolve()
        self.links = defaultdict[str, list[str]](list)
        """Links that were not followed, by why."""
        self.beside = 0
        """Files that belong to no run."""

    def folders(self) -> Iterator[Folder]:
        """Each that has event files, those below it first."""
        for folder in self._below("", (self._place,)):
            if folder.events:
                yield folder
            else:
                self.beside += len(folder.others)

    def _below(self, folder: str, places: tuple[Path, ...]) -> Iterator[Folder]:
        """Each folder, itself the last.

        `places`: where it lies, and before that where the links lie that led there.
        """
        events, others, inner = list[str](), list[str](), list[os.DirEntry[str]]()
        prefix = f"{folder}/" if folder else ""
        with os.scandir(f"{self._root}/{folder}") as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                path = prefix + entry.name
                if entry.is_symlink() and not self._is_followed(entry, path, places):
                    continue
                if entry.is_dir():
                    inner += [entry] if entry.name != ORIGIN else []
                elif is_event_file(entry.name) and entry.is_file():
                    events.append(path)
                else:
                    others.append(path)
        for entry in inner:
            place = Path(entry.path).resolve() if entry.is_symlink() else places[-1] / entry.name
            below = (*(places if entry.is_symlink() else places[:-1]), place)
            for found in self._below(prefix + entry.name, below):
                if found.events:
                    yield found
                elif entry.is_symlink():  # what lies elsewhere is in no run's folder
                    self.beside += len(found.others)
                else:
                    others += found.others
        yield Folder(folder, events, others, len(places) > 1)

    def _is_followed(self, link: os.DirEntry[str], path: str, places: tuple[Path, ...]) -> bool:
        if not os.access(link.path, os.R_OK):
            self.links[DEAD].append(path)
            return False
        place = Path(link.path).resolve()
        leads_back = place.is_relative_to(self._place)
        if link.is_dir():  # to what it lies in, it would be followed for ever
            leads_back |= any(each.is_relative_to(place) for each in places)
        else:
            leads_back &= is_event_file(link.name) and is_event_file(place.name)
        if leads_back:
            self.links[BACK].append(path)
        return not leads_back
