"""A chunk on its way into a file store: built aside, then put in its places as one."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trackbridge.disk import settle, system_errors
from trackbridge.errors import TransientError
from trackbridge.locks import Lock
from trackbridge_adapters.mlflow import files_swap, folders
from trackbridge_adapters.mlflow.files_swap import Step

HIDDEN = ("datasets", ".trackbridge")
"""Where chunks are built, in the folder of an experiment.

MLflow takes every folder in the store's root and its trash for an experiment, and fails at names
that are none; among an experiment's datasets it looks for those only that a run names
(file_store.py, `_get_dataset_inputs`, 3.17). It is the same file system as the runs' own.
"""
HOME = "0"
"""The default experiment, which MLflow does not let anybody delete."""
LOCK = ".trackbridge.lock"
"""File in the root whose lock is held by whoever puts a chunk in its places."""
JOURNAL = "journal.json"
ALIVE = "alive"
"""File whose lock says that a chunk is still being built."""
SECONDS = 60
"""How long another writer is waited for: it needs the lock for moments."""
SECONDS_TO_TIDY = 1
"""The same where it would only be tidied up: whoever writes next does it as well."""


class Staging:
    """The files of one chunk, in a folder that no reader looks at.

    `commit` writes down what goes where. From then on the chunk is in the store: if this process
    is killed, whoever writes next takes the steps that are left (`sweep`).
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock = Lock(root / LOCK)
        self._steps: list[Step] = []
        self._count = 0
        with system_errors(root), self.locked():
            sweep(root)
            self._folder = _base(root) / uuid.uuid4().hex[:12]
            self._folder.mkdir(parents=True)
            self._alive = Lock(self._folder / ALIVE)
            self._alive.acquire()

    def hold(self) -> None:
        """Keep other writers out until `close`."""
        if not self._lock.acquire(SECONDS):
            raise TransientError(f"{self.root}: another program is writing to it; trying again")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other writers out for as long as a commit takes."""
        self.hold()
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
        self._steps.append(self._step("put", staged, place, staged.stat().st_ino))

    def move(self, here: Path, there: Path) -> None:
        """Have a folder moved."""
        self._steps.append(self._step("move", here, there))

    def drop(self, place: Path) -> None:
        """Have a file or folder taken away."""
        self._steps.append(self._step("move", place, self.place()))

    def commit(self) -> None:
        """Take all steps; `locked` or `hold` has to be in force."""
        if not self._steps:
            return
        with system_errors(self.root):
            draft = self._folder / f"{JOURNAL}.new"
            draft.write_bytes(files_swap.dumps(self._steps))
            settle(self._folder)
            draft.replace(self._folder / JOURNAL)
            settle(self._folder)
            _finish(self.root, self._folder)
        self._steps = []

    def close(self) -> None:
        """Remove what is left, unless a commit was broken off: then the next writer goes on."""
        self._alive.release()
        if not (self._folder / JOURNAL).exists() and self._lock.acquire(SECONDS_TO_TIDY):
            _remove(self._folder)
        self._lock.release()

    def _step(self, kind: str, here: Path, there: Path, inode: int = 0) -> Step:
        paths = [path.relative_to(self.root).as_posix() for path in (here, there)]
        return Step(kind, paths[0], paths[1], inode)


def sweep(root: Path) -> None:
    """Finish what killed writers have committed, and remove what they have not."""
    for experiment in folders.subfolders(root):
        for chunk in folders.subfolders(experiment.joinpath(*HIDDEN)):
            alive = Lock(chunk / ALIVE)
            if not alive.acquire():
                continue
            try:
                if (chunk / JOURNAL).exists():
                    _finish(root, chunk)
                _remove(chunk)
            finally:
                alive.release()


def _finish(root: Path, chunk: Path) -> None:
    steps = files_swap.loads((chunk / JOURNAL).read_bytes())
    files_swap.take(root, steps, chunk / "old")
    settle(root)
    (chunk / JOURNAL).unlink()


def _remove(chunk: Path) -> None:
    shutil.rmtree(chunk, ignore_errors=True)
    for folder in list(chunk.parents)[:3]:
        with suppress(OSError):  # somebody else's is in it
            folder.rmdir()


def _base(root: Path) -> Path:
    """Where chunks are built: in the default experiment, or the first where that is missing."""
    found = [path for path in folders.subfolders(root) if (path / folders.META).is_file()]
    home = root / HOME
    return (home if home in found or not found else found[0]).joinpath(*HIDDEN)
