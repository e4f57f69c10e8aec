"""Artifact files of a chunk on their way to a storage elsewhere: spooled, then uploaded."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from trackbridge.errors import BridgeError, ConfigError
from trackbridge_adapters.mlflow import journal
from trackbridge_adapters.mlflow.repository import Repository
from trackbridge_adapters.mlflow.session import Store, Transaction
from trackbridge_adapters.mlflow.staging import LOCK_SECONDS, Files
from trackbridge_adapters.mlflow.storage import repository

UPLOADS = 8
"""Files on their way at a time."""


class Upload(Files):
    """The files of one chunk, below an artifact root elsewhere.

    Those that they stand for are deleted after the commit, as far as the storage can delete. A
    kill may leave files that no row refers to.
    """

    def __init__(self, database: Store) -> None:
        self._database = database
        self._spool = tempfile.TemporaryDirectory(prefix="trackbridge-")
        super().__init__(Path(self._spool.name))
        self._left: list[str] = []

    def replaces(self, folders: Iterable[str]) -> None:
        self._left += folders

    def place(self) -> None:
        self._check_all_claimed()
        tasks = [
            (repository(self._claimed[name]), folder, file)
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
                    repository(uri).delete()
            finally:
                transaction.close()

    def _take(self, folder: str) -> bool:
        damage: list[str] = []
        is_free = next(repository(folder).walk(damage), None) is None
        if damage:  # nobody knows what is there
            raise ConfigError(
                f"{folder}: cannot be listed, so nothing is put there ({damage[0]});"
                " grant the right to list it"
            )
        if is_free:
            self._left.append(folder)
        return is_free


def _upload(task: tuple[Repository, Path, Path]) -> None:
    place, folder, file = task
    with file.open("rb") as data:
        place.put(file.relative_to(folder).as_posix(), data)
