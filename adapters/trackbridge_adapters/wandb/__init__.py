"""W&B run folders (`wandb/run-*`, `wandb/offline-run-*`), read and written without wandb."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from trackbridge.errors import ConfigError, NotFoundError, UnsupportedError

if TYPE_CHECKING:
    from trackbridge.adapter import Writer
    from trackbridge_adapters.wandb.reader import RunFolders


class RunFolderAdapter:
    name = "wandb-files"

    def recognizes(self, location: str) -> bool:
        from trackbridge_adapters.wandb.finding import recognizes

        return "://" not in location and recognizes(Path(location))

    def suggests(self, location: str) -> bool:
        return Path(location).name.startswith("wandb")

    def reader(self, location: str, options: Mapping[str, str]) -> RunFolders:
        from trackbridge_adapters.wandb.reader import RunFolders

        _check(options)
        if not Path(location).exists():
            raise NotFoundError(f"wandb-files:{location}: no such folder")
        if not _may_hold_runs(Path(location)):
            raise ConfigError(
                f"wandb-files:{location}: no run folders in it (run-*, offline-run-*), "
                "nor a .wandb file; name the folder that holds them"
            )
        return RunFolders(location)

    def writer(self, location: str, options: Mapping[str, str]) -> Writer:
        from trackbridge_adapters.wandb.writer import WritableRunFolders

        _check(options)
        if Path(location).is_file():
            raise UnsupportedError(f"wandb-files:{location}: is a file; name a folder to write to")
        return WritableRunFolders(location, options.get("entity", ""))


def _may_hold_runs(location: Path) -> bool:
    """Whether there is a run folder, or what is there before the first one is written."""
    from trackbridge.adapter import ORIGIN
    from trackbridge_adapters.wandb.finding import run_folders

    if location.is_file():
        return location.suffix == ".wandb"
    ours = (entry.name.startswith((".", ORIGIN)) for entry in location.iterdir())
    named = location.name.startswith("wandb")
    return named or any(True for _ in run_folders(location)) or any(ours)


def _check(options: Mapping[str, str]) -> None:
    for name in sorted(set(options) - {"entity"}):
        raise ConfigError(f"wandb-files: has no option {name!r}; it knows entity")
    if "/" in options.get("entity", ""):
        raise ConfigError(f"wandb-files: no entity is called {options['entity']!r}")


ADAPTER = RunFolderAdapter()
