"""Runs' folders: which there are, and what is in their files so far."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from trackbridge.adapter import RunKey, RunRef
from trackbridge.dual import frames, place, scanning
from trackbridge.dual.journal import SUFFIX
from trackbridge.dual.parts import parts, session
from trackbridge.dual.records import VERSION, Record
from trackbridge.dual.scanning import Window
from trackbridge.errors import UnsupportedError

KIND = "trackbridge"
"""Of keys of runs that were born in a journal."""
LOST = "lost"
"""Project of runs whose files do not say any more which they are of."""


def run_folders(location: Path) -> list[Path]:
    """Folders that have journal files: all of the run whose location it is, or those in it.

    `OSError` where any of them cannot be read.
    """
    if place.files(location):
        return parts(location)
    return sorted(filter(place.files, location.iterdir()))


@dataclass
class File:
    """One file of a process, as far as it was read: it is looked at from there on only."""

    path: Path
    stop: int = 0
    """Where the last frame ends that was seen to be whole."""
    size: int = 0
    records: list[Record] = field(default_factory=list)
    """Everything but points, their keys, and series."""
    keys: dict[int, list[str]] = field(default_factory=dict)
    """Lists of keys by their numbers."""
    points: int = 0
    rows: tuple[int, int] | None = None
    """First and last row."""
    whole: set[int] = field(default_factory=set)
    """Rows that a record `whole` tells anew: what else is of them counts no more."""
    gaps: list[tuple[int, int]] = field(default_factory=list)

    @property
    def session(self) -> str:
        """What the files of one process have in common."""
        return session(self.path)

    @property
    def header(self) -> Record:
        """What its process said when it began the file; nothing where that cannot be read."""
        return next((record for record in self.records if record["t"] == "begin"), {})

    @property
    def ahead(self) -> int:
        """Microseconds by which its times count as later than they are: see `parts.ahead`."""
        return int(self.header.get("ahead", 0))

    def look(self) -> None:
        """Read what came since."""
        self.size = self.path.stat().st_size
        if self.size == self.stop:
            return
        with opened(self.path, self.size) as data:
            for window in scanning.scan(data, self.stop, self.keys):
                self._note(data, window)
                self.stop = window.stop

    def _note(self, data: bytes | mmap.mmap, window: Window) -> None:
        self.gaps += window.gaps
        self.points += sum(values * len(starts) for values, starts in window.points.items())
        rows = [
            scanning.call_of(data, start)[0]
            for starts in window.points.values()
            for start in (starts[0], starts[-1])
        ]
        for record in window.records:
            if record["t"] == "series":
                self.points += len(record["items"])
                rows.append(record["row"])
            elif record["t"] == "whole":
                self.points += len(record["values"]) + len(record["items"]) - record["again"]
                self.whole.add(record["row"])
            elif record["t"] != "keys":
                self.records.append(record)
        rows = [row for row in rows if row != frames.NONE]
        if rows:
            known = self.rows or (rows[0], rows[0])
            self.rows = min(*rows, known[0]), max(*rows, known[1])


@contextmanager
def opened(path: Path, stop: int) -> Iterator[bytes | mmap.mmap]:
    """The bytes of a file before a place; it may be growing."""
    with path.open("rb") as file:
        size = min(stop, os.fstat(file.fileno()).st_size)
        if size == 0:
            yield b""
            return
        with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as data:
            yield data


class Folder:
    """A run's folder; several, where processes began one run at the same time."""

    def __init__(self, *paths: Path) -> None:
        self.paths = paths
        self.files: list[File] = []

    def joined(self, other: Folder) -> Folder:
        """Both as one."""
        both = Folder(*self.paths, *other.paths)
        both.files = sorted(self.files + other.files, key=lambda file: file.path.name)
        return both

    def look(self) -> None:
        """Read what came since: new files too, which sort in the order of their beginning."""
        known = {file.path: file for file in self.files}
        found = (path for folder in self.paths for path in folder.glob(f"*{SUFFIX}"))
        self.files = [known.get(p) or File(p) for p in sorted(found, key=lambda path: path.name)]
        for file in self.files:
            file.look()
            if file.header.get("version", VERSION) > VERSION:
                raise UnsupportedError(
                    f"{file.path}: written by a newer Trackbridge; install that one"
                )

    @property
    def header(self) -> Record:
        """What a process said when it began to write; nothing where no file says so."""
        return next((file.header for file in self.files if file.header), {})

    @property
    def ref(self) -> RunRef | None:
        """Which run it is; none where nothing is there yet."""
        if not any(file.stop for file in self.files):
            return None
        return RunRef(*self.header.get("run", (LOST, self.paths[0].name)))

    @property
    def key(self) -> RunKey:
        """Where the run was born: in another store that it was mirrored from, else here."""
        if self.header.get("key"):
            return RunKey(*self.header["key"])
        return RunKey(KIND, "", *(self.ref or ("", "")))

    @property
    def fingerprint(self) -> str:
        return place.fingerprint_of((file.path.name, file.size) for file in self.files)

    @property
    def sessions(self) -> list[list[File]]:
        """The files of each process, in order."""
        found: dict[str, list[File]] = {}
        for file in self.files:
            found.setdefault(file.session, []).append(file)
        return list(found.values())

    def whole(self, session: str) -> frozenset[int]:
        """Rows of a process that are told anew as a whole."""
        return frozenset().union(*(file.whole for file in self.files if file.session == session))

    @property
    def is_mixed(self) -> bool:
        """Whether processes have given the same numbers to their calls, as after a fork."""
        spans = []
        for files in self.sessions:
            rows = [file.rows for file in files if file.rows]
            if rows:
                spans.append((min(row[0] for row in rows), max(row[1] for row in rows)))
        spans.sort()
        return any(after[0] <= before[1] for before, after in pairwise(spans))

    def content(self, sha256: str) -> Path | None:
        """The bytes of a file of the run, if they are there."""
        places = (place.content(path, sha256) for path in self.paths)
        return next((each for each in places if each.exists()), None)

    def records(self) -> list[Record]:
        """Everything but points and series: of a process in its order, of several by their time.

        A clock may be set back meanwhile: what a process said later counts as later.
        """
        every: list[tuple[int, Record]] = []
        for files in self.sessions:
            latest = 0
            ahead = files[0].ahead
            for record in (record for file in files for record in file.records):
                if "at" in record:
                    latest = max(latest, record["at"] + ahead)
                    every.append((latest, record))
        return [record for _, record in sorted(every, key=lambda pair: pair[0])]
