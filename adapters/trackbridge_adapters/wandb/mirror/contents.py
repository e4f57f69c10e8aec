"""Files and artifacts of a mirrored run: their bytes are copied into its journal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trackbridge.dual import place
from trackbridge.dual.run import Run
from trackbridge_adapters.wandb import folders, runfiles, tables
from trackbridge_adapters.wandb.artifacts import Staging, Version, versions
from trackbridge_adapters.wandb.facts import Facts
from trackbridge_adapters.wandb.records import CLASSES

NOW = 0
"""Policy of files that are uploaded as they are, at once."""
CONSOLE = "output.log"
"""Console output is W&B's own."""
State = tuple[int, int]


class Contents:
    """What lies in the folder `files` of a run, and the artifacts that it logs."""

    def __init__(self, run: Run, folder: Path | None) -> None:
        self._run, self._folder = run, folder
        self._facts = Facts()
        self._kept: dict[str, State] = {}

    @property
    def saved(self) -> dict[str, tuple[int, int]]:
        """Paths and patterns that were saved: policy and type."""
        return self._facts.saved

    def add(self, record: Any) -> None:
        """Take a `FilesRecord`: what has to be uploaded at once is there, and is kept."""
        for item in record.files:
            self.saved[item.path] = (item.policy, item.type)
            if item.policy == NOW and self._folder is not None:
                found = self._folder / item.path
                if found.is_file():
                    self._keep(item.path, found)

    def end(self) -> None:
        """Keep all files as they are in the end."""
        if self._folder is None or not self._folder.is_dir():
            return
        run = folders.Run([folders.Folder(self._folder.parent, None, self._run.id)])
        for file in runfiles.run_files(run, self._facts):
            if file.place is not None and file.path != CONSOLE:
                self._keep(file.path, file.place)

    def add_artifact(self, record: Any) -> None:
        """Take an `ArtifactRecord`; what is not on this machine is told without its bytes."""
        ours = CLASSES["ArtifactRecord"].FromString(record.SerializeToString())
        staging = Staging([self._folder.parent] if self._folder is not None else [])
        damage: list[str] = []
        for version in versions([ours], staging, damage):
            [row] = tables.artifact_rows([version])
            del row["version"]  # counted by the reader
            self._run.tell("artifact", row=row, files=self._files(version, staging))
        for reason in damage:
            self._run.lose("log_artifact", OSError(reason))

    def _files(self, version: Version, staging: Staging) -> list[dict[str, Any]]:
        rows = []
        for entry, row in zip(version.entries, tables.file_rows([version])):
            del row["owner"]
            row["sha256"] = None
            found = None if entry.ref else staging.place_of(entry)
            if found is not None and self._run.folder is not None:
                row |= place.keep(self._run.folder, entry.path, found)._asdict()
            rows.append(row)
        return rows

    def _keep(self, path: str, found: Path) -> None:
        status = found.stat()
        state = status.st_size, status.st_mtime_ns
        if self._kept.get(path) != state:
            try:
                self._run.keep(path, found)
                self._kept[path] = state
            except OSError as error:
                self._run.lose(f"file {path!r}", error)
