"""Steps that put files and folders in their places, and can be taken again after a kill."""

from __future__ import annotations

import ctypes
import json
import os
from pathlib import Path
from typing import NamedTuple

AT_FDCWD, RENAME_EXCHANGE = -100, 2
"""linux/fcntl.h and linux/fs.h."""


class Step(NamedTuple):
    """What is to be done to two paths below the root of a store.

    `put`: what lies at `here` goes to `there`, in the place of what is there. `move`: the same
    where nothing is there. `inode` is that of `here` and tells whether it was put already.
    """

    kind: str
    here: str
    there: str
    inode: int = 0


def dumps(steps: list[Step]) -> bytes:
    return json.dumps([list(step) for step in steps]).encode()


def loads(data: bytes) -> list[Step]:
    return [Step(*step) for step in json.loads(data)]


def take(root: Path, steps: list[Step], aside: Path) -> None:
    """Take all steps, in order; those that were taken before are left out.

    What is replaced lies in `aside` afterwards, or where that came from which has replaced it.
    """
    for number, step in enumerate(steps):
        here, there = root / step.here, root / step.there
        if not os.path.lexists(here):
            continue
        if os.path.lexists(there):
            if step.kind == "move" or there.lstat().st_ino == step.inode:
                continue
            if _exchange(here, there):
                continue
            aside.mkdir(parents=True, exist_ok=True)
            there.replace(aside / str(number))
        there.parent.mkdir(parents=True, exist_ok=True)
        here.replace(there)


def _exchange(one: Path, other: Path) -> bool:
    """Give two files or folders each other's names at once, where the system can."""
    try:
        rename = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    names = os.fsencode(one), os.fsencode(other)
    return bool(rename(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE) == 0)
