"""A lock between processes, on a file."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

PAUSE = 0.02
"""Seconds between two tries."""


class Lock:
    """Held by whoever has acquired it, until it is released or its process ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def acquire(self, seconds: float = 0) -> bool:
        """Whether the lock could be had within that time, or is held already."""
        if self._file is not None:
            return True
        deadline = time.monotonic() + seconds
        file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        while not try_lock(file):
            if time.monotonic() >= deadline:
                os.close(file)
                return False
            time.sleep(PAUSE)
        self._file = file
        return True

    @property
    def stands(self) -> bool:
        """Whether the file that is held is still in its place: its folder may have been removed."""
        if self._file is None:
            return False
        try:
            return os.path.samestat(os.fstat(self._file), self._path.stat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def try_lock(file: int) -> bool:
    """Lock an open file for this process; false where another one holds it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
