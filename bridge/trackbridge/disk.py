"""Files of this machine that are written, with errors of the system in the project's terms."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
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
