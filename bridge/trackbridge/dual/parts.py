"""The folders of one run: once there were several, where processes began it at the same time."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from trackbridge.dual import place
from trackbridge.dual.journal import now

_STAMPED = re.compile(r"run-\d{8}_\d{6}-(.+\.[0-9a-f]{4})")
"""Names of folders from then; those of one run differ in the time alone."""


def parts(folder: Path) -> list[Path]:
    """The folders of the run that one is of; what is said of its deliveries lies in the first."""
    root, name = folder.parent, _name(folder)
    if name == folder.name:
        return [folder]
    with os.scandir(root) as entries:
        beside = [root / entry.name for entry in entries if entry.name.endswith(name)]
    return next((some for some in grouped(beside) if folder in some), [folder])


def grouped(folders: Iterable[Path]) -> list[list[Path]]:
    """Folders beside each other, those of each run together."""
    alike: dict[str, list[Path]] = defaultdict(list)
    for folder in folders:
        alike[_name(folder)].append(folder)
    return [each for some in alike.values() for each in _by_run(some)]


def files(folder: Path) -> list[Path]:
    """The journal files of a run, in the order in which they were begun."""
    found = (path for part in parts(folder) for path in place.files(part))
    return sorted(found, key=lambda path: path.name)


def session(file: Path) -> str:
    """What the files of one process have in common."""
    return file.name.partition(".")[0]


def latest_header(some: Iterable[Path]) -> dict[str, Any]:
    """What the last process said that began to log to a run of these folders; see `place`."""
    told = filter(None, map(place.latest_header, some))
    return max(told, key=lambda header: header["at"] + header.get("ahead", 0), default={})


def ahead(folder: Path) -> int:
    """Microseconds that a process which begins to log to a run has to count as later than they are.

    So much is its clock behind the last that the processes before have said, by their clocks: those
    of two machines differ, and one may be set meanwhile.
    """
    from trackbridge.dual.scanning import latest  # here, since most runs begin without it

    last = {session(path): path for path in files(folder)}.values()
    said = (latest(path.read_bytes()) + place.header(path).get("ahead", 0) for path in last)
    return max(0, max(said, default=0) + 1 - now())


def _name(folder: Path) -> str:
    stamped = _STAMPED.fullmatch(folder.name)
    return stamped[1] if stamped else folder.name


def _by_run(some: list[Path]) -> list[list[Path]]:
    """Folders of one name, which runs of two projects may have."""
    if len(some) == 1:
        return [some]
    found: dict[object, list[Path]] = defaultdict(list)
    for folder in sorted(some, key=_rank):
        found[_run_of(folder) or folder].append(folder)
    return list(found.values())


def _run_of(folder: Path) -> tuple[str, ...]:
    """Project and id; nothing where they cannot be read."""
    with suppress(OSError):
        headers = filter(None, map(place.header, place.files(folder)))
        return tuple(next((header["run"] for header in headers), ()))
    return ()


def _rank(folder: Path) -> tuple[bool, str]:
    """One that was delivered comes first, so that a run keeps what is said of its deliveries."""
    return not (folder / place.DELIVERY).is_dir(), folder.name
