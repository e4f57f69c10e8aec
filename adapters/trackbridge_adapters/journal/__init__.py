"""The journal adapter: what training runs wrote for dual logging, read as a store like any other.

    run-<id>.<hash>/<begun>-<pid>-<mark>.<n>.journal   what a process logged
    run-<id>.<hash>/files/<ab>/<sha256>                the bytes of its files, each content once

Journals are written by `trackbridge.start` and the mirrors alone; here they are only read.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trackbridge.adapter import Writer
    from trackbridge.errors import UnsupportedError
    from trackbridge_adapters.journal.reader import Journals


class JournalAdapter:
    """A folder of runs' folders, or the folder of one run."""

    name = "journal"

    def check(self, location: str) -> None:
        """`UnsupportedError`: nothing is brought into journals."""
        raise _no_target(location)

    def recognizes(self, location: str) -> bool:
        from trackbridge_adapters.journal.folders import run_folders

        path = Path(location)
        with suppress(OSError):
            return path.is_dir() and bool(run_folders(path))
        return False

    def suggests(self, location: str) -> bool:
        return False

    def reader(self, location: str, options: Mapping[str, str]) -> Journals:
        from trackbridge.disk import native_errors
        from trackbridge.errors import NotFoundError
        from trackbridge_adapters.journal.folders import run_folders
        from trackbridge_adapters.journal.reader import Journals

        path = Path(location)
        with native_errors(f"journal:{location}"):
            found = path.is_dir() and run_folders(path)
        if not found:
            raise NotFoundError(
                f"journal:{location}: no journals are there; training runs write them into"
                " ./trackbridge, or where TRACKBRIDGE_DIR says"
            )
        return Journals(location)

    def writer(self, location: str, options: Mapping[str, str]) -> Writer:
        raise _no_target(location)


def _no_target(location: str) -> UnsupportedError:
    from trackbridge.errors import UnsupportedError

    return UnsupportedError(
        f"journal:{location}: journals are written by training runs; take an archive"
    )


ADAPTER = JournalAdapter()
