"""Which folder a run has below the log folder: TensorBoard calls runs by it.

    PROJECT/NAME@ID      runs of other stores: their name, so that people find them, and their id
    PROJECT/PATH         runs that were born as event files, as deep as they were

Names that differ in nothing but case or accents are one on some systems, and two runs may have one
path: the folder of the later one has a mark behind its name.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from trackbridge.adapter import ORIGIN, RunKey, RunRef
from trackbridge_adapters.tensorboard import carried
from trackbridge_adapters.tensorboard.finding import is_event_file
from trackbridge_adapters.tensorboard.folders import KIND, ROOT
from trackbridge_adapters.tensorboard.names import shortened

SHOWN = 60
"""Bytes of a run's name that its folder has."""
_MARK = re.compile("~[0-9a-f]{8}$")


class Listed:
    """The names in a folder, by how they end and by what some systems take them for."""

    def __init__(self, names: Iterable[str]) -> None:
        self.ending: defaultdict[str, list[str]] = defaultdict(list)
        self.folded: defaultdict[str, list[str]] = defaultdict(list)
        for name in names:
            self.add(name)

    def add(self, name: str) -> None:
        self.ending[_MARK.sub("", name.rpartition("@")[2])].append(name)
        self.folded[_folded(name)].append(name)


class Places:
    """The folders of runs in a log folder; each folder above them is listed once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._listed: dict[Path, Listed] = {}

    def of(self, key: RunKey, ref: RunRef) -> list[Path]:
        """Where a run is that was written before; more than one place where it was copied."""
        above, last = self._split(key)
        folders = (above / name for name in self._names(above).ending.get(last, ()))
        return [folder for folder in folders if _is(folder, ref)]

    def free(self, key: RunKey, ref: RunRef, shown: str | None) -> Path:
        """Where a run is to lie; no other run is there."""
        above, last = self._split(key)
        if key.kind != KIND and shown and shown != key.run_id:
            last = f"{shortened(shown, SHOWN)}@{last}"
        alike = self._names(above).folded.get(_folded(last), ())
        if any(_is_anothers(above / name, ref) for name in alike):
            last += "~" + hashlib.sha256("\n".join(ref).encode()).hexdigest()[:8]
        self._names(above).add(last)
        return above / last

    def _split(self, key: RunKey) -> tuple[Path, str]:
        """The folder that a run's folder is in, and the end of its name."""
        path = key.run_id.split("/") if key.kind == KIND else [key.run_id]
        parts = [*key.label.split("/"), *(part for part in path if part != ROOT)]
        *above, last = (shortened(part).replace("@", "%40") for part in parts)
        return self._root.joinpath(*above), last

    def _names(self, folder: Path) -> Listed:
        if folder not in self._listed:
            try:
                self._listed[folder] = Listed(sorted(path.name for path in folder.iterdir()))
            except (FileNotFoundError, NotADirectoryError):
                self._listed[folder] = Listed(())
        return self._listed[folder]


def _is(folder: Path, ref: RunRef) -> bool:
    found = carried.origin(folder)
    return found is not None and found.ref == ref


def _is_anothers(folder: Path, ref: RunRef) -> bool:
    """Whether a run that is not this one has the folder: we wrote it, or it has event files."""
    if (folder / ORIGIN / carried.ABOUT).exists():
        return not _is(folder, ref)
    return not folder.is_dir() or any(is_event_file(path.name) for path in folder.iterdir())


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
