"""TensorBoard's log folders: event files, read without TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from trackbridge.errors import ConfigError, NotFoundError

if TYPE_CHECKING:
    from trackbridge.adapter import Writer
    from trackbridge_adapters.tensorboard.reader import LogFolders


SUGGESTING = ("lightning_logs", "logdir", "runs", "tb_logs", "tensorboard")
"""Names that log folders have by habit."""


class LogFolderAdapter:
    """A folder with event files below it: each folder that has some is a run."""

    name = "tensorboard"

    def recognizes(self, location: str) -> bool:
        from trackbridge_adapters.tensorboard.finding import recognizes

        return "://" not in location and recognizes(Path(location))

    def suggests(self, location: str) -> bool:
        return "://" not in location and Path(location).name in SUGGESTING

    def reader(self, location: str, options: Mapping[str, str]) -> LogFolders:
        _check(options)
        path = Path(location)
        if path.is_file():
            raise ConfigError(f"tensorboard:{location}: is a file; name the folder that it is in")
        if not path.is_dir():
            raise NotFoundError(f"tensorboard:{location}: no such folder")
        from trackbridge_adapters.tensorboard.reader import LogFolders

        folder = LogFolders(location)
        if not folder.has_runs() and not folder.was_begun():
            raise NotFoundError(
                f"tensorboard:{location}: no event files below it (*tfevents*); name the folder"
                " that `tensorboard --logdir` is given"
            )
        return folder

    def writer(self, location: str, options: Mapping[str, str]) -> Writer:
        _check(options)
        if Path(location).is_file():
            raise ConfigError(f"tensorboard:{location}: is a file; choose a folder")
        from trackbridge_adapters.tensorboard.writer import WritableLogFolders

        return WritableLogFolders(location)


def _check(options: Mapping[str, str]) -> None:
    for name in sorted(options):
        raise ConfigError(f"tensorboard: has no option {name!r}")


ADAPTER = LogFolderAdapter()
