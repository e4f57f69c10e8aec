"""A chunk on its way into a log folder: built aside, then put in its places as one.

TensorBoard looks into every folder, and takes each file with `tfevents` in its name for events:
what is being built has other names. `commit` writes down what goes where. From then on the chunk is
in the store: if this process is killed, whoever writes next takes the steps that are left.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from trackbridge.adapter import ORIGIN
from trackbridge.disk import settle, system_errors
from trackbridge.errors import IntegrityError, TransientError
from trackbridge.locks import Lock
from trackbridge_adapters.tensorboard.carried import LOCK

ALIVE = "alive"
"""File whose lock says that a chunk is still being built."""
JOURNAL = "journal.json"
CHUNK = "chunk-"
SECONDS = 60
"""How long another writer is waited for: it needs the lock for moments."""
SECONDS_TO_TIDY = 1


class Step(NamedTuple):
    """What lies at `here` goes to `there`, paths below the log folder; what is there goes aside."""

    here: str
    there: str


class Staging:
    """The files of one chunk, in a folder that no reader looks at."""

    def __init__(self, root: Path) -> None:
        self.root, self._home = root, root / ORIGIN
        self._steps: list[Step] = []
        self._count = 0
        with system_errors(root):
            self._home.mkdir(parents=True, exist_ok=True)
            self._lock = Lock(self._home / LOCK)
            with self.locked():
                sweep(root)
                self._folder = self._home / f"{CHUNK}{uuid.uuid4().hex[:12]}"
                self._folder.mkdir()
                self._alive = Lock(self._folder / ALIVE)
                self._alive.acquire()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other writers out for as long as a commit takes."""
        if not self._lock.acquire(SECONDS):
            raise TransientError(f"{self.root}: another program is writing to it; trying again")
        try:
            yield
        finally:
            self._lock.release()

    def place(self) -> Path:
        """A new path for a file or folder that is to be put somewhere."""
        self._count += 1
        return self._folder / f"new.{self._count}"

    def put(self, staged: Path, place: Path) -> None:
        """Have a staged file or folder put in its place, or in the place of what is there."""
        self._steps.append(self._step(staged, place))

    def drop(self, place: Path) -> None:
        """Have a file or folder taken away."""
        self._steps.append(self._step(place, self.place()))

    def commit(self) -> None:
        """Take all steps; `locked` has to be in force."""
        if not self._steps:
            return
        with system_errors(self.root):
            draft = self._folder / f"{JOURNAL}.new"
            draft.write_text(json.dumps(self._steps), "utf-8")
            settle(self._folder)
            draft.replace(self._folder / JOURNAL)
            settle(self._folder)
            _finish(self.root, self._folder)
        self._steps = []

    def close(self) -> None:
        """Remove what is left, unless a commit was broken off: then the next writer goes on."""
        self._alive.release()
        if not (self._folder / JOURNAL).exists() and self._lock.acquire(SECONDS_TO_TIDY):
            shutil.rmtree(self._folder, ignore_errors=True)
        self._lock.release()

    def _step(self, here: Path, there: Path) -> Step:
        return Step(*(path.relative_to(self.root).as_posix() for path in (here, there)))


def sweep(root: Path) -> None:
    """Finish what killed writers have committed, and remove what they have not."""
    for chunk in sorted((root / ORIGIN).glob(f"{CHUNK}*")):
        alive = Lock(chunk / ALIVE)
        if not alive.acquire():
            continue
        try:
            if (chunk / JOURNAL).exists():
                _finish(root, chunk)
        finally:
            alive.release()
        shutil.rmtree(chunk, ignore_errors=True)


def _finish(root: Path, chunk: Path) -> None:
    for number, step in enumerate(_steps(chunk / JOURNAL)):
        here, there = root / step.here, root / step.there
        if not os.path.lexists(here):
            continue  # it was taken before
        if os.path.lexists(there):
            aside = chunk / "old"
            aside.mkdir(exist_ok=True)
            there.replace(aside / str(number))
        there.parent.mkdir(parents=True, exist_ok=True)
        here.replace(there)
        _tidy(here.parent, root)
    settle(root)
    (chunk / JOURNAL).unlink()


def _steps(journal: Path) -> list[Step]:
    """The steps that a writer has written down; `IntegrityError` where one leads out of the store.

    The folder may have been given by somebody else, and its next writer would take them.
    """
    try:
        steps = [Step(str(here), str(there)) for here, there in json.loads(journal.read_bytes())]
    except (ValueError, TypeError) as error:
        raise IntegrityError(f"{journal} is damaged; remove {journal.parent}") from error
    for path in (path for step in steps for path in step):
        if not path or Path(path).is_absolute() or ".." in path.replace("\\", "/").split("/"):
            raise IntegrityError(f"{journal} leads out of the store; remove {journal.parent}")
    return steps


def _tidy(folder: Path, root: Path) -> None:
    """Remove folders of runs in which nothing is left."""
    while folder != root and ORIGIN not in folder.relative_to(root).parts:
        with suppress(OSError):
            folder.rmdir()
            folder = folder.parent
            continue
        return
