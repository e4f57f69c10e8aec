"""Writes a folder with one file for each table of the run model."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from trackbridge.adapter import Presentation, Row, RunKey, RunRef
from trackbridge.disk import system_errors
from trackbridge.errors import ConfigError, IntegrityError
from trackbridge.locks import Lock
from trackbridge_adapters.tables.emit import CONTENTS, SCHEMAS
from trackbridge_adapters.tables.layout import (
    COMMIT,
    FILES,
    LOCK,
    STAGED,
    WRITING,
    Commit,
    cut_back,
    load,
    put,
    settle,
)
from trackbridge_adapters.tables.sink import StoredSink
from trackbridge_adapters.tables.stored import StoredReader

PATIENCE = 60.0
"""Seconds that another writer is waited for."""


class StoredWriter(StoredReader):
    """Such a folder, for writing too."""

    advice = ""

    def target(self, key: RunKey) -> RunRef:
        return RunRef(key.label, key.run_id)

    def present(self, key: RunKey, tables: Mapping[str, list[Row]]) -> Presentation:
        return Presentation(dict(tables))

    def open(self, keys: Sequence[RunKey]) -> StoredSink:
        return StoredSink(self, {self.target(key): key for key in keys})

    def begin(self) -> Lock:
        """Make the folder ready: nobody else writes, and what was left half-written is gone."""
        with system_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            lock = Lock(self.root / LOCK)
            if not lock.acquire(PATIENCE):
                raise ConfigError(f"{self.address}: somebody else writes there; try again later")
            try:
                self._recover()
            except BaseException:
                lock.release()
                raise
        return lock

    def end(self, lock: Lock, *, done: bool = True) -> None:
        """Let others write; what is not done they find as a killed writer would have left it."""
        try:
            if done:
                with system_errors(self.root):
                    shutil.rmtree(self.root / STAGED, ignore_errors=True)
                    (self.root / WRITING).unlink(missing_ok=True)
        finally:
            lock.release()

    def _recover(self) -> None:
        mark = self.root / WRITING
        killed = mark.exists()
        mark.touch()
        if not (self.root / COMMIT).exists():
            put(self.root, Commit(self.scheme))
        commit = settle(self.root, load(self.root, self.scheme))
        shutil.rmtree(self.root / STAGED, ignore_errors=True)
        for table, size in commit.sizes.items():
            self._cut(self.root / f"{table}.{self.scheme}", size, killed=killed)
        self.refresh()
        if killed:
            self._sweep(commit)

    def _cut(self, path: Path, size: int, *, killed: bool) -> None:
        """Take away what a killed writer has added; `IntegrityError` where it was somebody else."""
        there = path.stat().st_size if path.exists() else 0
        if there == size:
            return
        if there < size or not killed:
            raise IntegrityError(
                f"{path} was changed by others: it has {there} bytes, not {size}; restore it, or "
                "write to another folder"
            )
        cut_back(self.root, path, size)

    def _sweep(self, commit: Commit) -> None:
        """Remove what killed writers have begun and nothing speaks of."""
        for path in self.root.glob(f"*.{self.scheme}"):
            if path.stem in SCHEMAS and path.stem not in commit.sizes:
                path.unlink()
        used = {stored for stored, _ in commit.files.values()}
        for number, chunk in enumerate(commit.chunks):
            if CONTENTS in chunk.parts:
                used |= {stored for stored, _ in self.contents(number).values()}
        if (self.root / FILES).is_dir():
            for path in (self.root / FILES).iterdir():
                if path.name not in used and path.is_file():
                    path.unlink()
