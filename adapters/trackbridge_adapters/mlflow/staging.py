"""Artifact files of a chunk on their way: written aside, then moved into folders of their own."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from trackbridge import disk
from trackbridge.adapter import ORIGIN
from trackbridge.errors import BridgeError, IntegrityError
from trackbridge_adapters.mlflow import artifacts, journal
from trackbridge_adapters.mlflow.artifacts import inside
from trackbridge_adapters.mlflow.session import Store, Transaction

LOCK_SECONDS = 1
"""How long the lock is waited for to tidy up: whoever holds it meanwhile tidies up as well."""

Name = tuple[str, str]
"""Run and owner of files."""


class Files:
    """Files of one chunk, kept aside on their way to where nothing was before."""

    def __init__(self, aside: Path) -> None:
        self._aside = aside
        self._names: dict[Name, Path] = {}
        self._claimed: dict[Name, str] = {}
        self._kept: set[Name] = set()

    def put(self, name: Name, path: str, data: BinaryIO) -> None:
        """Take a file of the folder that `claim` will know as `name`."""
        file = inside(self._names.setdefault(name, self._aside / str(len(self._names))), path)
        with disk.system_errors(file):
            file.parent.mkdir(parents=True, exist_ok=True)
        disk.write(file, data)

    def has(self, name: Name) -> bool:
        """Whether files of `name` were put."""
        return name in self._names

    def link(self, name: Name, path: str, other: str) -> None:
        """Give a file that was put a second name."""
        file, second = (inside(self._names[name], each) for each in (path, other))
        with disk.system_errors(second):
            artifacts.link(file, second)

    def claim(self, name: Name, parent: str, *, native: bool) -> str:
        """Find the folder that the files of `name` get: `artifacts` below `parent`, if free.

        `native`: born in MLflow, under the same id. If such a run brings no files, the store
        that it comes from may have the same root and put its first file there one day, so that
        name is not free.
        """
        number = 2 if native and not self._has_own(name) else 1
        folder = _numbered(parent, number)
        while not self._take(folder):
            number += 1
            folder = _numbered(parent, number)
        self._claimed[name] = folder
        return folder

    def keep(self, name: Name, folder: str) -> None:
        """Have the files of `name`, if there are any, go beside others into a folder of ours."""
        if name in self._names:
            self._kept.add(name)
            self._claimed[name] = folder

    def replaces(self, folders: Iterable[str]) -> None:
        """The folders in which the files of the chunk's runs were so far."""
        raise NotImplementedError

    def place(self) -> None:
        """Bring the files to where they were claimed for."""
        raise NotImplementedError

    def sweep(self, transaction: Transaction) -> None:
        """Delete what earlier chunks have left."""
        raise NotImplementedError

    def finish(self) -> None:
        """Delete what is not needed any more, now that the chunk's transaction is over."""
        raise NotImplementedError

    def _take(self, folder: str) -> bool:
        """Make a folder ours, if nothing is there."""
        raise NotImplementedError

    def _check_all_claimed(self) -> None:
        for run, owner in self._names.keys() - self._claimed.keys():
            raise IntegrityError(f"run {run}: files of {owner!r}, which is no model of the run")

    def _has_own(self, name: Name) -> bool:
        new = self._names.get(name)
        return new is not None and any(file.name != ORIGIN for file in new.iterdir())


class Staging(Files):
    """The files of one chunk, below an artifact root on this machine.

    Nothing that is there is ever replaced: files go into folders that did not exist before, and
    the folders that they stand for are deleted after the database's commit. What has to go is
    written down first, so that it goes even if this process is killed (see `journal`).
    """

    def __init__(self, root: Path, database: Store) -> None:
        mark = hashlib.sha256(database.identity.encode("utf-8", "surrogateescape"))
        self._database = database
        self._base = root / f".trackbridge-{mark.hexdigest()[:8]}"
        self._folder = self._base / uuid.uuid4().hex[:12]
        super().__init__(self._folder / "new")
        self._journal = journal.Journal(self._folder)

    def claim(self, name: Name, parent: str, *, native: bool) -> str:
        with disk.system_errors(Path(parent)):
            os.makedirs(parent, exist_ok=True)  # noqa: PTH103 - Path takes longer than the system
            folder = super().claim(name, parent, native=native)
        self._journal.add(folder)
        return folder

    def replaces(self, folders: Iterable[str]) -> None:
        for folder in folders:
            self._journal.add(folder)

    def place(self) -> None:
        self._check_all_claimed()
        self._journal.sync()
        for name, folder in self._claimed.items():
            new = self._names.pop(name, None)
            if new is not None and name in self._kept:
                for file in sorted(each for each in new.rglob("*") if each.is_file()):
                    _replace(file, Path(folder, file.relative_to(new)))
                continue
            for file in sorted(new.iterdir()) if new else ():
                _move(file, Path(folder, file.name))

    def sweep(self, transaction: Transaction) -> None:
        journal.sweep(transaction, self._base)

    def finish(self) -> None:
        self._journal.close()
        if not self._folder.exists():
            return
        with suppress(BridgeError):  # then whoever writes next does it
            transaction = self._database.transaction(LOCK_SECONDS)
            try:
                self.sweep(transaction)
            finally:
                transaction.close()

    def _take(self, folder: str) -> bool:
        try:
            os.mkdir(folder)  # noqa: PTH102
        except FileExistsError:
            return False
        return True


def _numbered(parent: str, number: int) -> str:
    return f"{parent}/artifacts" if number == 1 else f"{parent}/artifacts.{number}"


def _move(source: Path, target: Path) -> None:
    with disk.system_errors(target):
        shutil.move(source, target)


def _replace(source: Path, target: Path) -> None:
    with disk.system_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            source.replace(target)
        except OSError:  # it is on another disk, or a folder
            shutil.move(source, target)
