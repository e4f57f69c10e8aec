"""The journal of one process of a run: append-only files, written by one system call per record.

What a call returned from survives the process, also when it is killed. Nothing here raises on a
full or missing disk: what could not be written is counted, and said in the journal as soon as that
is possible again.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trackbridge.dual import frames
from trackbridge.dual.frames import frame, packer
from trackbridge.dual.records import VERSION

ROTATED = 64 << 20
"""Bytes after which a process begins another file."""
SUFFIX = ".journal"
_FLAGS = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0)


def now() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000


class Journal:
    """Appends to a run's folder, from this process and from its children after a fork.

    Each process has files of its own, which begin with `header`, so that each can be read alone.
    Their names sort in the order in which they were begun.
    """

    def __init__(self, folder: Path, header: dict[str, Any], rotated: int = ROTATED) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        """Held around what has to be in order; signal handlers may log in between."""
        self.lost, self.reason = 0, ""
        """How many records could not be written, and why the last one could not."""
        self._header, self._rotated = header, rotated
        self._begin()
        _JOURNALS.add(self)

    def points(
        self,
        keys: tuple[str, ...],
        values: tuple[float, ...],
        row: int,
        step: int,
        at: int,
        flags: int = 0,
    ) -> None:
        """Append points; `at` in microseconds, `frames.NONE` for a row, step or time unknown."""
        with self.lock:
            known = self._keys.get(keys)
            if known is not None:
                number, pack = known
                data = frame(pack(b"P", flags, 0, number, row, step, at, *values))
                self._append(data)
            else:
                number, pack = len(self._keys), packer(len(keys))
                told = frames.record({"t": "keys", "id": number, "keys": keys})
                data = frame(pack(b"P", flags, 0, number, row, step, at, *values))
                if self._append(told + data):
                    self._keys[keys] = number, pack
            if self._size >= self._rotated:
                self._turn()

    def record(self, content: dict[str, Any]) -> None:
        """Append anything else."""
        with self.lock:
            self._append(frames.record(content))
            if self._size >= self._rotated:
                self._turn()

    def lose(self, reason: str) -> None:
        """Count a call that cannot be kept."""
        with self.lock:
            self.lost += 1
            self._unsaid += 1
            self.reason = reason

    def close(self) -> None:
        """Have the disk hold what was written; a later record begins another file."""
        with self.lock:
            if self._unsaid:
                self._append(b"")
            if self._file >= 0:
                try:
                    os.fsync(self._file)
                    os.close(self._file)
                except OSError as error:
                    self.reason = str(error)
            self._begin()

    def _begin(self) -> None:
        """Nothing is open: the first record opens a file, so that idle children leave none."""
        self._file, self._size, self._unsaid = -1, 0, 0
        self._segment = 0
        self._keys: dict[tuple[str, ...], tuple[int, Callable[..., bytes]]] = {}
        """Lists of keys that the file has: number, and what packs their values."""
        self._name = f"{now():016d}-{os.getpid()}-{secrets.token_hex(3)}"

    def _append(self, data: bytes) -> bool:
        """Whether all of it was written."""
        try:
            if self._file < 0:
                self._open()
            if self._unsaid:
                data = self._loss() + data
            written = os.write(self._file, data)
        except OSError as error:
            self.lose(error.strerror or str(error))
            return False
        self._size += written
        if written < len(data):
            self.lose("the disk took half of a record")
            return False
        self._unsaid = 0
        return True

    def _turn(self) -> None:
        """End a file: the next record begins another one, with its own keys."""
        os.close(self._file)
        self._file, self._size = -1, 0
        self._keys.clear()

    def _loss(self) -> bytes:
        return frames.record({"t": "lost", "calls": self._unsaid, "why": self.reason, "at": now()})

    def _open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{self._name}.{self._segment:04d}{SUFFIX}"
        file = os.open(path, _FLAGS, 0o644)
        process = {"pid": os.getpid(), "at": now(), "segment": self._segment}
        header = frames.record({"t": "begin", "version": VERSION, **self._header, **process})
        if os.write(file, header) < len(header):
            os.close(file)
            path.unlink()
            raise OSError(28, "No space left on device")
        self._file, self._size, self._segment = file, len(header), self._segment + 1

    def _after_fork(self) -> None:
        """In a child: the parent's file is not for us, nor are locks that its threads hold."""
        self.lock = threading.RLock()
        if self._file >= 0:
            os.close(self._file)
        self._begin()


_JOURNALS: weakref.WeakSet[Journal] = weakref.WeakSet()


def _after_fork() -> None:
    for journal in _JOURNALS:
        journal._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
