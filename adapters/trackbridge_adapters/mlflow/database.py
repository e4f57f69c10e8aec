"""Files of SQLite: sources opened without altering them, targets with SQLite's locks."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from trackbridge import disk
from trackbridge.adapter import SHARED_FILE
from trackbridge.errors import (
    BridgeError,
    ConfigError,
    IntegrityError,
    NotFoundError,
    TransientError,
    temporary_errors,
)
from trackbridge_adapters.mlflow import ENDINGS
from trackbridge_adapters.mlflow.capabilities import SQL
from trackbridge_adapters.mlflow.session import Session, Transaction
from trackbridge_adapters.mlflow.sqlite import FileSession, is_written, native_errors

MAGIC = b"SQLite format 3\0"
"""First 16 bytes of every SQLite 3 file (sqlite.org/fileformat2.html)."""

ATTEMPTS = 5
"""How often a copy of a database is begun anew because somebody wrote to it meanwhile."""


class Stamp(NamedTuple):
    """What changes when a database is written to, by file: size, mtime and change counter."""

    main: tuple[int, int, bytes]
    others: tuple[tuple[str, int, int], ...]

    @property
    def state(self) -> str:
        """The state that the database is in, the same for a copy of a quiet one."""
        size, _, counter = self.main
        return "-".join(map(str, [size, counter.hex(), *(n for _, *of in self.others for n in of)]))


class Database:
    """One SQLite file, opened anew for each `session`.

    A source (`owned` false) is never altered: a quiet file is opened as immutable, one with a
    write-ahead log or a rollback journal beside it is copied, and a change under a session's
    feet is a `TransientError`. A target (`owned`) is opened with SQLite's ordinary locks.
    """

    has_folder = True
    capabilities = SQL

    def __init__(self, path: Path, *, owned: bool = False) -> None:
        self.name = str(path)
        self.address = f"sqlite:///{path}"
        # SQLite has its journals beside the file that a link leads to, and so do we all of ours
        self.path = path.resolve() if path.is_symlink() else path
        self.identity = os.path.realpath(path)
        self.home = self.path.absolute().parent
        self._owned = owned
        self._restless = False
        self._copied: Stamp | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def exists(self) -> bool:
        return self.path.is_file() and not is_empty(self.path)

    def create(self, root: str) -> None:
        from trackbridge_adapters.mlflow import empty, roots

        empty.create(self.path, root)
        # what a database of this name said that was deleted since is not true of this one
        (roots.own(self.path) / SHARED_FILE).unlink(missing_ok=True)

    def own_root(self) -> Path:
        from trackbridge_adapters.mlflow import roots

        return roots.own(self.path)

    def new_root(self) -> Path:
        from trackbridge_adapters.mlflow import roots

        return roots.of_new(self.path)

    def transaction(self, wait: int | None = None) -> Transaction:
        from trackbridge_adapters.mlflow.locked import LockedTransaction

        return LockedTransaction(self.path, wait)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A consistent view; whatever was read within is void if leaving it raises."""
        if self._owned or is_written(self.path):
            with self._locked_session() as session:
                yield session
            return
        check_header(self.path)
        before = self._stamp()
        copied = bool(before.others) or self._restless
        file = self._copy(before) if copied else self.path
        state = (self._copied if copied and self._copied else before).state
        session = FileSession(file, self.path, state)
        try:
            yield session
        finally:
            session.close()
        if not copied and self._stamp() != before:
            self._restless = True
            raise TransientError(f"{self.path}: was written to while it was read; trying again")

    @contextmanager
    def _locked_session(self) -> Iterator[Session]:
        from trackbridge_adapters.mlflow.locked import LockedSession

        if not self.exists():
            raise NotFoundError(f"{self.path}: no such database")
        # a target that may be written is, if a killed writer has left pages that have to go back
        mode = "rw" if self._owned else "ro"
        session = LockedSession(self.path, f"{self.path.absolute().as_uri()}?mode={mode}")
        try:
            yield session
        finally:
            session.close()

    def _copy(self, stamp: Stamp) -> Path:
        """A copy in a temporary folder, where SQLite may put file and journals together."""
        for _ in range(ATTEMPTS):
            if self._copied == stamp and self._folder is not None:
                return Path(self._folder.name, "copy.db")
            with temporary_errors():
                folder = tempfile.TemporaryDirectory(prefix="trackbridge-")
            copy = Path(folder.name, "copy.db")
            copy_file(self.path, copy)
            for suffix, _, _ in stamp.others:
                with suppress(NotFoundError):  # gone meanwhile: the stamp says so
                    copy_file(Path(f"{self.path}{suffix}"), Path(f"{copy}{suffix}"))
            if self._stamp() == stamp:
                with native_errors(self.path):
                    merge = sqlite3.connect(copy)
                    merge.execute("PRAGMA journal_mode=DELETE").fetchall()
                    merge.close()
                self._copied, self._folder = stamp, folder
                return copy
            stamp = self._stamp()
        raise TransientError(f"{self.path}: is being written to all the time; trying again")

    def _stamp(self) -> Stamp:
        others = []
        for suffix in ("-wal", "-journal"):
            beside = Path(f"{self.path}{suffix}")
            try:
                status = beside.stat()
            except FileNotFoundError:
                continue
            if status.st_size:
                others.append((suffix, status.st_size, status.st_mtime_ns))
        with self.path.open("rb") as file:
            counter = file.read(28)[24:]
        status = self.path.stat()
        return Stamp((status.st_size, status.st_mtime_ns, counter), tuple(others))


def copy_file(file: Path, copy: Path) -> None:
    """Copy a file into a temporary folder."""
    with _opened(file) as data:
        disk.write(copy, data, temporary_errors)


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise NotFoundError(f"{path}: no such database") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error


def is_empty(path: Path) -> bool:
    """Whether a file has nothing in it yet: a database to SQLite, and a target to us."""
    return path.stat().st_size == 0


def check_header(path: Path) -> None:
    """Refuse what is no SQLite file, in words that say so."""
    if is_written(path):
        return
    with _opened(path) as file:
        head = file.read(len(MAGIC))
    if not head:
        raise NotFoundError(f"{path}: an empty file, no database yet")
    if head != MAGIC:
        raise ConfigError(f"{path}: not an SQLite database")


def is_mlflow(path: Path) -> bool:
    """Whether a file is an SQLite database with MLflow's tables; yes where that cannot be told now.

    Namely if it is too damaged, or if somebody writes to it all the time. An empty file may become
    one, if its name says so: a killed process has left it, or the user has made room for it.
    """
    if is_empty(path):
        return path.suffix in ENDINGS
    try:
        with Database(path).session():
            return True
    except (IntegrityError, TransientError):
        return True
    except BridgeError:
        return False
