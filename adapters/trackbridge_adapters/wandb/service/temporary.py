"""Streams on their way elsewhere, kept on disk meanwhile."""

from __future__ import annotations

import shutil
import tempfile
from typing import BinaryIO, cast

from trackbridge.errors import temporary_errors

BLOCK = 1 << 20


def copied(data: BinaryIO, begun: bytes = b"") -> BinaryIO:
    """What was read of a stream already, and its rest, in a file that goes with its handle."""
    with temporary_errors():
        copy = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 - it is given away
        try:
            copy.write(begun)
            shutil.copyfileobj(data, copy, BLOCK)
            copy.seek(0)
        except BaseException:
            copy.close()
            raise
    return copy
