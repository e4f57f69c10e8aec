"""Folders of artifacts: where their URIs lead on this machine, and what lies in them."""

from __future__ import annotations

import io
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple
from urllib.parse import unquote, urlsplit

from trackbridge.adapter import SIDECAR
from trackbridge.errors import IntegrityError

PROXY = "mlflow-artifacts"
"""Scheme of artifacts that a tracking server stores, in its folder `mlartifacts` unless told."""
PROXIED = "mlartifacts"

_IMAGE = re.compile(r"images/[^/]+\+step\+-?\d+\+timestamp\+-?\d+\+[0-9a-f]{8}\.(?:png|webp)")
"""Images that `places` has named; MLflow's own have a whole UUID."""

WINDOWS = os.name == "nt"
_DRIVE = re.compile(r"^[A-Za-z]:")


class Entry(NamedTuple):
    """A file found below a folder; `path` has forward slashes."""

    path: str
    size: int
    modified: int


def local(uri: str | None, home: Path) -> Path | None:
    """The folder that an artifact URI means; None where it is not on this machine.

    A tree that was moved is found by the longest tail of the URI that exists below `home`, the
    folder of the store: MLflow writes absolute paths into its stores.
    """
    if not uri:
        return None
    split = urlsplit(uri)
    if split.scheme == PROXY:
        return _tail(PurePosixPath(unquote(split.path)), home / PROXIED)
    if split.scheme not in ("", "file") and not _DRIVE.match(uri):
        return None
    text = unquote(split.path) if split.scheme == "file" else uri
    path = Path(home, text)
    if os.path.isdir(path) or os.path.isdir(path.parent.parent):  # noqa: PTH112 - ten times as fast
        return path  # it or the folder of the run's experiment is there
    return _tail(PurePosixPath(text.replace("\\", "/")), home) or path


def _tail(path: PurePosixPath, home: Path) -> Path | None:
    parts = [part for part in path.parts if part not in ("/", "..")]
    for first in range(len(parts) - 1):
        tail = "/".join(parts[first:])
        if os.path.isdir(f"{home}/{tail}"):  # noqa: PTH112 - ten times as fast as Path
            return Path(home, tail)
    return None


def walk(
    folder: Path, damage: list[str] | None = None, *, carried: bool = False
) -> Iterator[Entry]:
    """The files below a folder in order; a missing one has none.

    `carried`: it is that of a run that Trackbridge has brought, so the sidecar is not the run's.
    Links that leave the folder or lead to folders are not followed but named in `damage`.
    """
    for entry in _walk(folder, folder, "", [] if damage is None else damage):
        if not (carried and entry.path == SIDECAR):
            yield entry


def _walk(folder: Path, top: Path, prefix: str, damage: list[str]) -> Iterator[Entry]:
    try:
        found = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    except OSError as error:
        damage.append(f"artifacts/{prefix}: cannot be read ({error.strerror})")
        return
    for entry in found:
        path = prefix + entry.name
        if is_thumbnail(path):
            continue
        if not _is_text(path):
            damage.append(f"artifacts/{path!a}: name is not UTF-8")
        elif entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), top, f"{path}/", damage)
        elif entry.is_symlink() and not _stays(Path(entry.path), top):
            damage.append(f"artifacts/{path}: a link that leaves the folder")
        elif entry.is_file():
            status = entry.stat()
            yield Entry(path, status.st_size, status.st_mtime_ns)


def sidecar(folder: Path | None) -> tuple[int, int] | None:
    """Size and time of the file that Trackbridge keeps in a run's folder, if it is there."""
    if folder is None:
        return None
    try:
        status = os.stat(f"{folder}/{SIDECAR}")  # noqa: PTH116 - for every run that is listed
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _stays(link: Path, top: Path) -> bool:
    target = os.path.realpath(link)  # no error where links lead in a circle or nobody may look
    return os.path.isfile(target) and Path(target).is_relative_to(top.resolve())  # noqa: PTH113


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def opened(folder: Path | None, path: str) -> BinaryIO | None:
    """A file below a folder; None where there is none, or a link that leaves the folder."""
    if leads_out(path):
        raise IntegrityError(f"{path!r}: not a path below the folder of its run; not read")
    if folder is None or not os.path.isfile(f"{folder}/{path}"):  # noqa: PTH113 - often it is not
        return None
    return _File(folder / path) if _stays(folder / path, folder) else None


class _File(io.BufferedReader):
    """A file that is read; what keeps it from being read is damage of its run alone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            super().__init__(path.open("rb", buffering=0))
        except OSError as error:
            raise self._unreadable(error) from error

    def read(self, size: int | None = -1, /) -> bytes:
        try:
            return super().read(size)
        except OSError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: OSError) -> IntegrityError:
        return IntegrityError(
            f"{self._path}: cannot be read ({error.strerror}); make it readable, or take it away"
        )


def leads_out(path: str) -> bool:
    """Whether a path means something outside of its folder; names on POSIX may look odd."""
    hostile = WINDOWS and ("\\" in path or _DRIVE.match(path))
    return bool(hostile) or path.startswith("/") or "\0" in path or ".." in path.split("/")


def thumbnail(path: str) -> str | None:
    """The second name that an image of ours needs.

    MLflow's image grid shows an image only if there is a smaller one too, `+compressed` (server/js,
    reducer `imagesByRunUuid`, 3.17). It is a link to the image, and no file of the run.
    """
    if not _IMAGE.fullmatch(path):
        return None
    stem, dot, ending = path.rpartition(".")
    return f"{stem}+compressed{dot}{ending}"


def is_thumbnail(path: str) -> bool:
    return "+compressed." in path and thumbnail(path.replace("+compressed.", ".")) == path


def inside(folder: Path, path: str) -> Path:
    """Where a file below a folder is to be written; `IntegrityError` if that could lead out of it.

    On any system: the folder may be used on another one.
    """
    parts = path.split("/")
    hostile = "\\" in path or "\0" in path or _DRIVE.match(path)
    if hostile or any(part in ("", ".", "..") for part in parts):
        raise IntegrityError(f"{path!r}: not a path below the folder of its run; not written")
    return folder.joinpath(*parts)


def link(file: Path, second: Path) -> None:
    """Give a file a second name."""
    try:
        os.link(file, second)
    except OSError:  # a file system without hard links
        shutil.copyfile(file, second)
