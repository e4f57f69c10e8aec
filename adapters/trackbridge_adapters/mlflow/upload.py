"""Artifact files of a chunk on their way to a storage elsewhere: spooled, then uploaded."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from trackbridge.adapter import ORIGIN
from trackbridge.errors import BridgeError, IntegrityError
from trackbridge_adapters.mlflow import journal
from trackbridge_adapters.mlflow.repository import Repository
from trackbridge_adapters.mlflow.session import Store, Transaction
from trackbridge_adapters.mlflow.staging import LOCK_SECONDS, Name, spooled
from trackbridge_adapters.mlflow.storage import TRACKING

UPLOADS = 8
"""Files on their way at a time."""


class Upload:
    """The files of one chunk, as `staging.Staging` for folders.

    Files go below URIs where nothing was; those that they stand for are deleted after the
    commit, as far as the storage can delete. A kill may leave files that no row refers to.
    """

    def __init__(self, database: Store) -> None:
        self._database = database
        self._spool = tempfile.TemporaryDirectory(prefix="trackbridge-")
        self._names: dict[Name, Path] = {}
        self._claimed: dict[Name, str] = {}
        self._left: list[str] = []

    def put(self, name: Name, path: str, data: BinaryIO) -> None:
        folder = self._names.setdefault(name, Path(self._spool.name, str(len(self._names))))
        spooled(folder, path, data)

    def has(self, name: Name) -> bool:
        return name in self._names

    def link(self, name: Name, path: str, other: str) -> None:
        folder = self._names[name]
        os.link(folder / path, folder / other)

    def claim(self, name: Name, parent: str, *, native: bool) -> str:
        number = 2 if native and not self._has_own(name) else 1
        while True:
            uri = f"{parent}/artifacts" if number == 1 else f"{parent}/artifacts.{number}"
            if self._is_free(uri):
                break
            number += 1
        self._left.append(uri)
        self._claimed[name] = uri
        return uri

    def replaces(self, folders: Iterable[str]) -> None:
        self._left += folders

    def place(self) -> None:
        for run, owner in self._names.keys() - self._claimed.keys():
            raise IntegrityError(f"run {run}: files of {owner!r}, which is no model of the run")
        tasks = [
            (_repository(self._claimed[name]), folder, file)
            for name, folder in self._names.items()
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        ]
        with ThreadPoolExecutor(UPLOADS) as pool:
            list(pool.map(_upload, tasks))

    def sweep(self, transaction: Transaction) -> None:
        """Nothing that an earlier chunk has left is known."""

    def finish(self) -> None:
        self._spool.cleanup()
        if not self._left:
            return
        with suppress(BridgeError):  # what stays is in nobody's way
            transaction = self._database.transaction(LOCK_SECONDS)
            try:
                for uri in set(self._left) - journal.referred(transaction, self._left):
                    _repository(uri).delete()
            finally:
                transaction.close()

    def _is_free(self, uri: str) -> bool:
        return next(_repository(uri).walk([]), None) is None

    def _has_own(self, name: Name) -> bool:
        folder = self._names.get(name)
        return folder is not None and any(file.name != ORIGIN for file in folder.iterdir())


def _upload(task: tuple[Repository, Path, Path]) -> None:
    repository, folder, file = task
    with file.open("rb") as data:
        repository.put(file.relative_to(folder).as_posix(), data)


def _repository(uri: str) -> Repository:
    return Repository(uri, os.environ.get(TRACKING))
