"""Artifact files of a chunk on their way: written aside, then moved into place all together."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from pathlib import Path
from typing import BinaryIO

from trackbridge.errors import BridgeError, ConfigError, IntegrityError
from trackbridge_adapters.mlflow.artifacts import inside

BLOCK = 1 << 20

Name = tuple[str, str]
"""Run and owner of files."""


class Staging:
    """A folder below the artifact root that belongs to one database and one chunk at a time.

    Whoever holds the database's write lock owns it, so what is found there is left over from a
    chunk that was aborted.
    """

    def __init__(self, root: Path, database: Path) -> None:
        mark = hashlib.sha256(str(database.absolute()).encode("utf-8", "surrogateescape"))
        self._root = root
        self._folder = root / f".trackbridge-{mark.hexdigest()[:8]}"
        self._moved: list[tuple[Path, Path]] = []
        self._names: dict[Name, Path] = {}
        self.clear()

    def put(self, name: Name, path: str, data: BinaryIO) -> None:
        """Write a file of the folder that `place` will know as `name`."""
        if name not in self._names:
            self._names[name] = self._folder / "new" / str(len(self._names))
        folder = self._names[name]
        file = inside(folder, path)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("wb") as out:
                shutil.copyfileobj(data, out, BLOCK)
        except OSError as error:
            raise _translated(file, error) from error

    def link(self, name: Name, path: str, other: str) -> None:
        """Give a file that was put a second name."""
        file, link = (inside(self._names[name], each) for each in (path, other))
        try:
            os.link(file, link)
        except OSError:  # a file system without hard links
            shutil.copyfile(file, link)

    def place(self, name: Name, folder: Path) -> None:
        """Put the files of `name` where `folder` is, in place of all that was there."""
        new = self._names.pop(name, None)
        self.remove(folder)
        if new is not None:
            self._move(new, folder)

    def merge(self, name: Name, folder: Path) -> None:
        """Put the files of `name` into `folder`, beside what else is there."""
        new = self._names.pop(name, None)
        for file in sorted(new.rglob("*")) if new else ():
            if new and file.is_file():
                self.remove(folder / file.relative_to(new))
                self._move(file, folder / file.relative_to(new))

    def check_all_placed(self) -> None:
        """`IntegrityError` where files were put for which there is no place."""
        for run, owner in self._names:
            raise IntegrityError(f"run {run}: files of {owner!r}, which is no model of the run")

    def remove(self, path: Path) -> None:
        """Take a file or folder away, until `clear` for good."""
        if path.exists():
            self._move(path, self._folder / "old" / str(len(self._moved)))

    def undo(self) -> None:
        """Put everything back where it was."""
        while self._moved:
            source, target = self._moved.pop()
            if target.exists():
                shutil.move(target, source)

    def forget(self) -> None:
        """What was placed stays, and what was removed is gone."""
        self._moved = []

    def clear(self) -> None:
        """Delete what was not placed, and what was removed."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _move(self, source: Path, target: Path) -> None:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(source, target)
        except OSError as error:
            raise _translated(target, error) from error
        self._moved.append((source, target))


def _translated(path: Path, error: OSError) -> BridgeError:
    if error.errno in (errno.ENOTDIR, errno.EISDIR, errno.EEXIST):
        return IntegrityError(f"{path}: a file and a folder have the same name")
    return ConfigError(f"{path}: cannot be written ({error.strerror})")
