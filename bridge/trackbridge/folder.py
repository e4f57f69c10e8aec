"""A folder of files that are put whole, on this machine or wherever fsspec reaches.

Paths are relative to the root, with forward slashes. Files are put whole and atomically, and
never altered afterwards: a local file by fsync and rename, one in an object store by its `put`.
"""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol
from urllib.parse import quote

from trackbridge.audit.verify import is_hostile
from trackbridge.disk import sync_folder
from trackbridge.errors import (
    BridgeError,
    ConfigError,
    IntegrityError,
    NotFoundError,
    TransientError,
)
from trackbridge.guarded import GuardedFile
from trackbridge.locks import Lock

if TYPE_CHECKING:
    from trackbridge.audit.verify import Found

_PASSING = re.compile(r"(?i)connect|timeout|httpclient|payload|incomplete|parser|checksum")
"""Errors by whose names one knows connections that broke, also in the middle of an answer."""
_CREDENTIALS = re.compile(r"[^\s\"'/@]+:[^\s\"'/@]+@")
"""Before the host or bucket of an address."""
FULL = (errno.ENOSPC, errno.EDQUOT)
"""Errors of a disk without room."""
SCRATCH = ".incoming-"
"""Local files being written lie in folders of this prefix below the root, outside `data/`."""
HELD = ".held"
"""The file in them on which whoever writes there has a lock."""
LOCK_SECONDS = 0.5
"""After so long it is a file system without locks."""
UNTOLD = -1
"""The size of a file where a listing names no sizes, as those of web servers."""


class Folder(Protocol):
    """What an archive needs of a place to lie in."""

    address: str
    parallel: bool
    """Whether files may be put and opened by several threads at once."""

    def names(self, path: str) -> list[str]:
        """Names in the folder, hidden ones left out; none where there is no such folder."""
        ...

    def size(self, path: str) -> int | None:
        """Bytes of a file; None where it is missing."""
        ...

    def sizes(self, path: str) -> dict[str, int]:
        """Path and bytes (or `UNTOLD`) of each file in a folder, by one listing."""
        ...

    def tree(self) -> Iterator[tuple[str, Found]]:
        """Every file, hidden ones included, by its path; links are told, and not followed."""
        ...

    def read(self, path: str) -> bytes:
        """A small file, whole; raises `NotFoundError`."""
        ...

    def open(self, path: str) -> BinaryIO:
        """A file to be read once; raises `NotFoundError`."""
        ...

    def fetch(self, path: str) -> AbstractContextManager[Path]:
        """A local file with the same bytes; raises `NotFoundError`."""
        ...

    def scratch(self, name: str) -> AbstractContextManager[Path]:
        """An empty local folder to write files in; what a kill left under that name is removed.

        Others may have one of that name at the same time.
        """
        ...

    def clear_scratch(self) -> None:
        """Remove all that killed writers left in scratch folders."""
        ...

    def publish(self, local: Path, path: str) -> None:
        """Move a file out of a scratch folder to its place, atomically."""
        ...

    def move(self, path: str, to: str) -> None:
        """Give a published file another place; raises `NotFoundError`."""
        ...

    def settle(self, paths: Iterable[str]) -> None:
        """Make published files survive a loss of power: before anything refers to them."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file, if it is there."""
        ...

    def url(self, path: str) -> str | None:
        """The address of a file for whoever reaches the folder; None where files have none."""
        ...


def open_folder(location: str, options: Mapping[str, str]) -> Folder:
    """The folder at a path or URL; `options` go to fsspec's file system."""
    if not location:
        raise ConfigError("an archive's address needs a place, as in archive:./out")
    protocol, separator, rest = location.partition("://")
    if separator and protocol not in ("file", "local"):
        return RemoteFolder(location, options)
    if options:
        names = ", ".join(sorted(options))
        raise ConfigError(f"archive:{location}: a local archive takes no options ({names})")
    return LocalFolder(rest if separator else location)


@contextmanager
def storage_errors(where: str, *, passing: bool) -> Iterator[None]:
    """Turns errors of files and networks into ours; `passing` ones are worth another try."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise NotFoundError(f"{where}: no such file") from error
    except PermissionError as error:
        raise ConfigError(f"{where}: access denied; check the rights to it") from error
    except OSError as error:
        if error.errno in FULL and not passing:  # then so it is for all runs
            reason = os.strerror(error.errno)
            raise ConfigError(f"{where}: {reason}; free some and call again") from error
        reason = error.strerror or str(error) or type(error).__name__
        raise (TransientError if passing else BridgeError)(f"{where}: {reason}") from error


@contextmanager
def remote_errors(where: str) -> Iterator[None]:
    """Turns errors of whatever fsspec stands for into ours."""
    try:
        with storage_errors(where, passing=True):
            yield
    except BridgeError:
        raise
    except Exception as error:  # each library that fsspec stands for has its own kinds
        what = _CREDENTIALS.sub("", str(error).strip().partition("\n")[0])
        kind = type(error).__name__
        made = TransientError if _PASSING.search(kind) else BridgeError
        raise made(f"{where}: {kind}: {what}") from error


class LocalFolder:
    """A folder on this machine."""

    parallel = True

    def __init__(self, root: str) -> None:
        self.address = root
        self._root = Path(root).expanduser()

    def names(self, path: str) -> list[str]:
        with self._errors(path):
            if self._root.is_file():
                raise ConfigError(f"{self.address} is a file; an archive is a folder")
            place = self._inside(path)
            if not place.is_dir():
                return []
            names = (entry.name for entry in place.iterdir())
            return sorted(name for name in names if not name.startswith("."))

    def size(self, path: str) -> int | None:
        with self._errors(path):
            inside = self._inside(path)
            return inside.stat().st_size if inside.is_file() else None

    def sizes(self, path: str) -> dict[str, int]:
        with self._errors(path):
            place = self._inside(path)
            if not place.is_dir():
                return {}
            with os.scandir(place) as entries:
                files = [entry for entry in entries if entry.is_file(follow_symlinks=False)]
                return {f"{path}/{file.name}": file.stat().st_size for file in files}

    def tree(self) -> Iterator[tuple[str, Found]]:
        from trackbridge.audit.verify import Place

        with self._errors(""):
            yield from Place(self._root).tree()

    def read(self, path: str) -> bytes:
        with self._errors(path):
            return self._file(path).read_bytes()

    def open(self, path: str) -> BinaryIO:
        with self._errors(path):
            return self._file(path).open("rb")

    @contextmanager
    def fetch(self, path: str) -> Iterator[Path]:
        if self.size(path) is None:
            raise NotFoundError(f"{self.address}/{path}: no such file")
        yield self._inside(path)

    @contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        with self._errors(""):
            self._root.mkdir(parents=True, exist_ok=True)
            self._remove_scratch(f"{name}.*")
            made, held = self._make_scratch(name)
        try:
            yield made
        finally:
            held.release()
            shutil.rmtree(made, ignore_errors=True)

    def clear_scratch(self) -> None:
        self._remove_scratch("*")

    def publish(self, local: Path, path: str) -> None:
        with self._errors(path):
            place = self._inside(path)
            place.parent.mkdir(parents=True, exist_ok=True)
            with local.open("rb") as file:
                os.fsync(file.fileno())
            local.replace(place)

    def move(self, path: str, to: str) -> None:
        with self._errors(path):
            place = self._inside(to)
            place.parent.mkdir(parents=True, exist_ok=True)
            self._inside(path).replace(place)

    def settle(self, paths: Iterable[str]) -> None:
        for folder in sorted({(self._root / path).parent for path in paths}):
            with self._errors(folder.name):
                sync_folder(folder)

    def remove(self, path: str) -> None:
        with self._errors(path):
            self._inside(path).unlink(missing_ok=True)

    def url(self, path: str) -> str | None:
        return (self._root / path).absolute().as_uri()

    def _make_scratch(self, name: str) -> tuple[Path, Lock]:
        """A scratch folder and the lock by which it is known that somebody works in it."""
        while True:
            made = Path(tempfile.mkdtemp(prefix=f"{SCRATCH}{name}.", dir=self._root))
            held = Lock(made / HELD)
            with suppress(FileNotFoundError):  # who removes what was left came in between
                if not held.acquire(LOCK_SECONDS) or held.stands:
                    return made, held
                held.release()

    def _remove_scratch(self, names: str) -> None:
        """Remove what nobody works in any more."""
        for left in self._root.glob(f"{SCRATCH}{names}"):
            held = Lock(left / HELD)
            with suppress(OSError):
                if held.acquire():
                    shutil.rmtree(left, ignore_errors=True)  # before anybody can take it
                    held.release()
                    if sys.platform == "win32":  # which keeps a file that is open
                        shutil.rmtree(left, ignore_errors=True)

    def _file(self, path: str) -> Path:
        """Where a file lies; `IntegrityError` where something else does, as a pipe with no end."""
        place = self._inside(path)
        if place.exists() and not place.is_file():
            raise IntegrityError(f"{place} is no regular file: an archive has none; remove it")
        return place

    def _inside(self, path: str) -> Path:
        """Where a path lies; `IntegrityError` where it could lead out of the root, as links do."""
        if path and is_hostile(path):
            raise IntegrityError(f"{self.address}: {path!a} leads out of it, or is no name")
        place = self._root
        for part in path.split("/") if path else ():
            place = place / part
            if place.is_symlink():
                raise IntegrityError(f"{place} is a link: an archive has none; remove it")
        return place

    def _errors(self, path: str) -> AbstractContextManager[None]:
        return storage_errors(f"{self.address}/{path}".rstrip("/"), passing=False)


class RemoteFolder:
    """A folder that fsspec reaches. Its `put_file` has to be atomic, as in every object store."""

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        import fsspec

        self.address = url_without_secrets(url)
        try:
            # others write there too, and what was listed before is not what is there now
            self._system, self._root = fsspec.core.url_to_fs(
                url, **{"use_listings_cache": False, **options}
            )
            # fsspec's memory file system gives all readers of a file the same object (2026.9)
            self.parallel = "memory" not in self._system.protocol
        except ImportError as error:
            raise ConfigError(f"{self.address}: {error}") from error
        except ValueError as error:
            raise ConfigError(f"{self.address}: {error}; see fsspec's list of schemes") from error

    def names(self, path: str) -> list[str]:
        with self._errors(path):
            names = map(_name, self._entries(path))
            return sorted(name for name in names if not name.startswith("."))

    def size(self, path: str) -> int | None:
        with self._errors(path):
            try:
                return int(self._system.info(self._path(path))["size"])
            except FileNotFoundError:
                return None

    def sizes(self, path: str) -> dict[str, int]:
        with self._errors(path):
            found = self._entries(path)
        files = [entry for entry in found if entry["type"] != "directory"]
        return {f"{path}/{_name(entry)}": _size(entry) for entry in files}

    def tree(self) -> Iterator[tuple[str, Found]]:
        from trackbridge.audit.verify import Found

        with self._errors(""):
            found = self._system.find(self._root, detail=True)
        for name, entry in sorted(found.items()):
            yield name[len(self._root) :].lstrip("/"), Found(_size(entry))

    def read(self, path: str) -> bytes:
        with self._errors(path):
            return bytes(self._system.cat_file(self._path(path)))

    def open(self, path: str) -> BinaryIO:
        with self._errors(path):
            file = self._system.open(self._path(path), "rb")
        return io.BufferedReader(GuardedFile(file, partial(self._errors, path)), 1 << 18)

    @contextmanager
    def fetch(self, path: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="trackbridge-") as scratch:
            local = Path(scratch, "fetched")
            with self._errors(path):
                self._system.get_file(self._path(path), str(local))
            yield local

    @contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="trackbridge-") as scratch:
            yield Path(scratch)

    def clear_scratch(self) -> None:
        """Nothing to do: it lies in this machine's folder for temporary files."""

    def publish(self, local: Path, path: str) -> None:
        with self._errors(path):
            self._system.put_file(str(local), self._path(path))
        local.unlink()

    def move(self, path: str, to: str) -> None:
        from fsspec.spec import AbstractFileSystem

        here, there = self._path(path), self._path(to)
        with self._errors(path):
            if type(self._system).mv is not AbstractFileSystem.mv:
                self._system.mv(here, there)
                return
            self._system.cp_file(here, there)  # its `mv` takes `[` and `*` for a pattern
            self._system.rm_file(here)

    def settle(self, paths: Iterable[str]) -> None:
        """Nothing to do: an object store answers when it has the file."""

    def remove(self, path: str) -> None:
        with self._errors(path):
            try:
                self._system.rm_file(self._path(path))
            except FileNotFoundError:
                return

    def url(self, path: str) -> str | None:
        return quote(f"{self.address.rstrip('/')}/{path}", safe=":/@%+~")

    def _entries(self, path: str) -> list[dict[str, Any]]:
        """What fsspec says of each entry of a folder; none where there is no such folder."""
        folder = self._path(path)
        try:
            return list(self._system.ls(folder, detail=True))
        except FileNotFoundError:
            return []

    def _path(self, path: str) -> str:
        return f"{self._root.rstrip('/')}/{path}".rstrip("/")

    def _errors(self, path: str) -> AbstractContextManager[None]:
        return remote_errors(f"{self.address}/{path}".rstrip("/"))


def _name(entry: Mapping[str, Any]) -> str:
    """The last part of an entry's path."""
    return str(entry["name"]).rstrip("/").rpartition("/")[2]


def _size(entry: Mapping[str, Any]) -> int:
    size = entry.get("size")
    return UNTOLD if size is None else int(size)


def url_without_secrets(url: str) -> str:
    """The URL without password and query, which may hold a token."""
    return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1@", url).partition("?")[0]
