"""Files of this machine, with errors of the system in the project's terms."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from trackbridge.errors import BridgeError, ConfigError, IntegrityError

BLOCK = 1 << 20


@contextmanager
def system_errors(place: Path) -> Iterator[None]:
    """Turns errors of the system, met while something is written at or below a place, into ours."""
    try:
        yield
    except OSError as error:
        raise translated(Path(os.fsdecode(error.filename or place)), error) from error


@contextmanager
def native_errors(address: str, deed: str = "read") -> Iterator[None]:
    """Errors of the file system, as what they mean for a store that is `deed`."""
    try:
        yield
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        raise ConfigError(f"{address}: cannot be {deed}: {reason}") from error


def translated(path: Path, error: OSError) -> BridgeError:
    """The project's error for one of the system about a file to be written."""
    if error.errno in (errno.ENOTDIR, errno.EISDIR, errno.EEXIST):
        return IntegrityError(f"{path}: a file and a folder have the same name")
    return ConfigError(f"{path}: cannot be written ({error.strerror or error})")


def write(
    file: Path,
    data: BinaryIO,
    errors: Callable[[Path], AbstractContextManager[None]] = system_errors,
) -> None:
    """Copy a stream into a new file; errors of the stream are its reader's and stay as they are."""
    with errors(file):
        out = file.open("wb", buffering=0)
    try:
        while block := memoryview(data.read(BLOCK)):
            with errors(file):
                while block:  # the system may take less than it is given
                    block = block[out.write(block) :]
    finally:
        with errors(file):
            out.close()


def sync_folder(folder: Path) -> None:
    """Make renames in it survive a loss of power, where the system has a way to ask."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def settle(folder: Path) -> None:
    """Make all that was written to the folder's file system survive a loss of power.

    A chunk has thousands of small files: one call for all of them takes less than one for each.
    """
    if not hasattr(os, "sync"):
        return
    with suppress(AttributeError, OSError):
        file = os.open(folder, os.O_RDONLY)
        try:
            if ctypes.CDLL(None).syncfs(file) == 0:
                return
        finally:
            os.close(file)
    os.sync()
