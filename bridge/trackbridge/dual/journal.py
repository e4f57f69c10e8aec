"""The journal of one process of a run: append-only files, written by one system call per record.

What a call returned from survives the process, also when it is killed. Nothing here raises on a
full or missing disk: what could not be written is counted, and said in the journal as soon as that
is possible again.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from trackbridge.dual import frames
from trackbridge.dual.frames import frame, packer
from trackbridge.dual.records import VERSION

ROTATED = 64 << 20
"""Bytes after which a process begins another file."""
LOOKED = 64 << 10
"""Bytes after which it looks whether its file is still there."""
LISTS = 10_000
"""Lists of keys that are known at once; where there are more, they are told again."""
SUFFIX = ".journal"
GUEST = {"guest": True}
"""In headers of processes that log to a run which another one has begun, and ends."""
_FLAGS = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0)


def now() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000


def born(pid: int) -> int | None:
    """When a process began, in ticks since the machine did, whatever its clock is set to.

    None where there is no such process, or where the system does not tell (it is Linux that does:
    field 22 of proc_pid_stat(5)).
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
        return int(text.rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


class EndedError(Exception):
    """A call that came while its run was ended by another thread."""


class Journal:
    """Appends to a run's folder, from this process and from its children after a fork.

    Each process has files of its own, which begin with `header`, so that each can be read alone.
    Their names sort in the order in which they were begun, by clocks that are `ahead` microseconds
    of this one, where the header says so: see `parts.ahead`.
    """

    def __init__(self, folder: Path, header: dict[str, Any], rotated: int = ROTATED) -> None:
        self.folder = folder
        self.reason = ""
        """Why the last record that is lost could not be written."""
        self.header, self._rotated = header, rotated
        self.is_over = False
        """Once it is set, and the journal is closed, what comes raises `EndedError`."""
        self._begin()
        _JOURNALS.add(self)

    def _begin(self) -> None:
        """Nothing is open: the first record opens a file, so that idle children leave none."""
        self.lock = threading.RLock()
        """Held around what has to be in order; signal handlers may log in between."""
        self.lost = self._unsaid = 0
        """How many records could not be written; and how many of them the journal does not say."""
        self._file: _File | None = None
        self._name = (
            f"{now() + self.header.get('ahead', 0):016d}-{os.getpid()}-{os.urandom(3).hex()}"
        )
        self._segments = count()

    @property
    def is_closed(self) -> bool:
        """Whether nothing was written yet, or since it was closed."""
        return self._file is None

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
            try:
                file = self._file or self._open()
                number, pack = file.lists.get(keys) or self._define(file, keys)
                self._append(file, frame(pack(b"P", flags, 0, number, row, step, at, *values)))
            except OSError as error:
                self.lose(error.strerror or str(error))

    def record(self, content: dict[str, Any]) -> None:
        """Append anything else."""
        data = frames.record(content)
        with self.lock:
            try:
                self._append(self._file or self._open(), data)
            except OSError as error:
                self.lose(error.strerror or str(error))

    def lose(self, reason: str) -> None:
        """Count a call that cannot be kept."""
        with self.lock:
            self.lost += 1
            self._unsaid += 1
            self.reason = reason

    def close(self) -> None:
        """Have the disk hold what was written; a later record begins another file."""
        with self.lock:
            try:
                if self._unsaid:
                    self._say(self._file or self._open())
                if file := self._file:
                    self._look(file)
                    os.fsync(file.number)
            except OSError as error:
                self.reason = error.strerror or str(error)
            self._file = None

    def _append(self, file: _File, data: bytes) -> None:
        if self._unsaid:
            self._say(file)
        file.write(data)
        if file.size >= file.looked:
            self._look(file)

    def _say(self, file: _File) -> None:
        """Say how many calls were lost; where that fails, the next record tries again."""
        said = self._unsaid
        told = {"t": "lost", "calls": said, "why": self.reason, "at": now()}
        file.write(frames.record(told))
        self._unsaid -= said

    def _define(self, file: _File, keys: tuple[str, ...]) -> _List:
        """Give a list of keys its number in a file; keys need not be texts."""
        if len(file.lists) >= LISTS:
            file.lists.clear()
        number = next(file.numbers)  # a signal handler may do the same in between
        told = {"t": "keys", "id": number, "keys": [str(key) for key in keys]}
        file.write(frames.record(told))
        file.lists[keys] = found = number, packer(len(keys))
        return found

    def _look(self, file: _File) -> None:
        """End a file that is full or was deleted: the next record begins another one."""
        file.looked = min(file.size + LOOKED, self._rotated)
        is_gone = not os.fstat(file.number).st_nlink
        if is_gone:
            self.lose(f"the journal was deleted, and {file.size} bytes of it are gone")
        if is_gone or file.size >= self._rotated:
            self._file = None

    def _open(self) -> _File:
        if self.is_over:
            raise EndedError("the run has ended")
        self.folder.mkdir(parents=True, exist_ok=True)
        segment = next(self._segments)
        path = self.folder / f"{self._name}.{segment:04d}{SUFFIX}"
        file = _File(os.open(path, _FLAGS, 0o644))
        process = {"pid": os.getpid(), "born": born(os.getpid()), "at": now(), "segment": segment}
        header = {"t": "begin", "version": VERSION, **self.header, **process}
        try:
            file.write(frames.record(header))
        except OSError:
            with suppress(OSError):
                path.unlink()
            raise
        file.looked = min(file.size + LOOKED, self._rotated)
        self._file = file
        return file


_List = tuple[int, Callable[..., bytes]]
"""Of a list of keys: its number, and what packs its values."""


class _File:
    """An open file, and the lists of keys that stand in it.

    It is closed when nobody has it any more: a signal handler may begin the next one while a call
    that it interrupts is about to write to this one.
    """

    def __init__(self, number: int) -> None:
        self.number, self.size, self.looked = number, 0, LOOKED
        self.lists: dict[tuple[str, ...], _List] = {}
        self.numbers = count()

    def write(self, data: bytes) -> None:
        """Append; raises `OSError` where not all could be written."""
        written = os.write(self.number, data)
        self.size += written
        while written < len(data):  # a disk that is full says so when asked for the rest
            more = os.write(self.number, data[written:])
            self.size, written = self.size + more, written + more

    def __del__(self) -> None:
        with suppress(OSError):
            os.close(self.number)


_JOURNALS: weakref.WeakSet[Journal] = weakref.WeakSet()


def _after_fork() -> None:
    for journal in _JOURNALS:
        journal.header = {**journal.header, **GUEST}
        journal._begin()  # the file is the parent's, and so are locks that its threads hold


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
