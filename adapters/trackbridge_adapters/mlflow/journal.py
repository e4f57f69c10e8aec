"""Journals of artifact folders that have to go once it is clear whether a chunk was committed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from trackbridge.disk import system_errors
from trackbridge_adapters.mlflow import folders
from trackbridge_adapters.mlflow.session import IN, Session
from trackbridge_adapters.mlflow.trace_fields import LOCATION_TAG

NAME = "journal"


class Journal:
    """One chunk's list: the folders that it has made, and those that they replace.

    All of them belong to the database. Those that no row refers to any more may go: before the
    commit these are the new ones, after it the old ones.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: int | None = None

    def add(self, path: str) -> None:
        """Write a folder down; that it is on the disk is certain after `sync`."""
        with system_errors(self._folder / NAME):
            if self._file is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
                self._file = os.open(self._folder / NAME, flags, 0o666)
            os.write(self._file, f"{json.dumps(path)}\n".encode())

    def sync(self) -> None:
        if self._file is not None:
            with system_errors(self._folder / NAME):
                os.fsync(self._file)
            for folder in (self._folder, self._folder.parent):
                _sync_folder(folder)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def sweep(session: Session, base: Path) -> None:
    """Delete what chunks have left that are over; `base` has a folder of each.

    What cannot be deleted now stays in its journal.

    Only for whoever holds the database's write lock: no other chunk is under way then.
    """
    for chunk in folders.subfolders(base):
        listed = list(_read(chunk / NAME))
        old = set(listed) - referred(session, listed)
        for path in old:
            shutil.rmtree(path, ignore_errors=True)
        if any(map(os.path.lexists, old)):  # whoever writes next tries again
            continue
        shutil.rmtree(chunk, ignore_errors=True)
    with suppress(OSError):
        base.rmdir()


def _read(path: Path) -> Iterator[str]:
    """The folders in a journal; of one that was cut off, those before the cut."""
    with suppress(FileNotFoundError):
        for line in path.read_bytes().splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                return


def referred(session: Session, paths: Sequence[str]) -> set[str]:
    """Those of some folders in which the database has files, under whatever name."""
    found = _named(session, paths)
    rest = (path for path in paths if path not in found and Path(path).is_absolute())
    uris = {Path(path).as_uri(): path for path in rest}
    return found | {uris[uri] for uri in _named(session, list(uris))}


def _named(session: Session, names: Sequence[str]) -> set[str]:
    """Those of some texts that rows of the database have as the place of files."""
    values = [json.dumps(names)]
    found = session.select("runs", ["artifact_uri"], f"WHERE artifact_uri {IN}", values)
    where = f"WHERE artifact_location {IN}"
    found += session.select("logged_models", ["artifact_location"], where, values)
    where = f'WHERE "key" = \'{LOCATION_TAG}\' AND "value" {IN}'
    found += session.select("trace_tags", ["value"], where, values)
    return {name for (name,) in found}


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):  # Windows has no such thing
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
