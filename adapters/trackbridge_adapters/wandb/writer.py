"""Writes W&B run folders that `wandb sync` accepts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from trackbridge.adapter import (
    STORE,
    Batch,
    FileRef,
    Names,
    Presentation,
    Row,
    RunKey,
    RunRef,
)
from trackbridge.columns import split
from trackbridge.disk import native_errors
from trackbridge.errors import IntegrityError
from trackbridge.fit_text import fit_name
from trackbridge_adapters.wandb import translate
from trackbridge_adapters.wandb.artifacts import is_inside
from trackbridge_adapters.wandb.draft import Draft, copy, sync
from trackbridge_adapters.wandb.facts import origin_key
from trackbridge_adapters.wandb.finding import FOLDER
from trackbridge_adapters.wandb.folders import open_folder
from trackbridge_adapters.wandb.marks import HIDDEN
from trackbridge_adapters.wandb.reader import RunFolders
from trackbridge_adapters.wandb.unseen import unseen

PROJECT = Names(length=128, alphabet=r" -\"$&-.0-9;->@-\[\]-~\u0080-\U0010ffff")
"""Of projects: anything but `/\\#?%:` and control characters, as the client checks (wandb 0.31)."""
RUN_ID = re.compile(
    r"[^\s.:;,#?/'\\\x00-\x1f\x7f]([^:;,#?/'\\\x00-\x1f\x7f]{0,62}[^\s.:;,#?/'\\\x00-\x1f\x7f])?"
)
"""Ids that W&B and file systems accept."""
UNIQUE = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""Ids that no two stores give."""
SAFE_ID = Names(length=55, alphabet=r"\w\-")


class WritableRunFolders(RunFolders):
    """A folder of run folders, for reading and for writing.

    Runs that were not born in W&B get `entity`, the team or user that they are to be synced to.
    """

    def __init__(self, location: str, entity: str) -> None:
        super().__init__(location)
        self._entity = entity

    @property
    def advice(self) -> str:
        return f"to upload them: wandb sync {self._location}/offline-run-*"

    def open(self, keys: Sequence[RunKey]) -> RunFolderSink:
        return RunFolderSink(self, self._location, {key: self.target(key) for key in keys})

    def target(self, key: RunKey) -> RunRef:
        own = key.kind == "wandb" and not key.instance
        project = key.label if own and _is_label(key.label) else self._project(key)
        verbatim = RUN_ID if own else UNIQUE
        if not key.instance and verbatim.fullmatch(key.run_id):
            return RunRef(project, key.run_id)
        mark = hashlib.sha256(str(key).encode()).hexdigest()[:8]
        return RunRef(project, f"{fit_name(key.run_id, SAFE_ID)}-{mark}")

    def _project(self, key: RunKey) -> str:
        name = fit_name(key.label, PROJECT)
        return f"{self._entity}/{name}" if self._entity else name

    def present(self, key: RunKey, tables: Mapping[str, list[Row]]) -> Presentation:
        shown = translate.present(key, self.target(key), tables)
        shown.losses = unseen(key, tables, shown.tables).list()
        return shown

    def forget(self) -> None:
        """What was known of the folder no longer holds."""
        self._forget()


class RunFolderSink:
    """A chunk of runs, each a folder that is renamed into its place when all are complete."""

    def __init__(
        self, writer: WritableRunFolders, out: Path, runs: Mapping[RunKey, RunRef]
    ) -> None:
        self._writer, self._out, self._runs = writer, out, runs
        self._drafts = {ref: Draft(out, key, ref) for key, ref in runs.items()}
        self._shared: dict[str, Path] = {}
        with native_errors(writer.address, "read"):
            there = _run_folders(out)
            self._old = {ref: self._written_before(key, ref, there) for key, ref in runs.items()}
            for draft in self._drafts.values():
                draft.sweep()

    def __enter__(self) -> RunFolderSink:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for draft in self._drafts.values():
            draft.discard()
        for path in self._shared.values():
            path.unlink(missing_ok=True)

    def write(self, batch: Batch) -> None:
        for ref, part in split(batch.data):
            self._drafts[ref].write(batch.table, part)

    def put_file(self, file: FileRef, data: BinaryIO) -> None:
        if file.run == STORE and not is_inside(file.path):
            raise IntegrityError(f"{self._writer.address}: {file.path!r} would lie outside of it")
        with native_errors(self._writer.address, "written"):
            if file.run != STORE:
                self._drafts[file.run].put_file(file, data)
                return
            place = self._out / file.path
            self._shared[file.path] = place.with_name(f"{HIDDEN}{place.name}")
            copy(data, self._shared[file.path])

    def commit(self) -> Mapping[RunKey, RunRef]:
        with native_errors(self._writer.address, "written"):
            self._out.mkdir(parents=True, exist_ok=True)
            for draft in self._drafts.values():
                draft.complete()
            for ref, draft in self._drafts.items():
                draft.place(self._old[ref])
            for path, made in self._shared.items():
                made.replace(self._out / path)
                sync((self._out / path).parent)
            sync(self._out)
        self._shared = {}
        self._writer.forget()
        return dict(self._runs)

    def _written_before(
        self, key: RunKey, ref: RunRef, there: list[tuple[str, Path]]
    ) -> list[Path]:
        """Folders that an earlier call made of this run; another run's are in the way."""
        old = []
        for folder in (open_folder(p) for end, p in there if end.startswith(ref.run_id)):
            known = origin_key(folder.facts)
            if folder.ref != ref:
                continue
            if known != key:
                what = "was not written by Trackbridge" if known is None else f"is run {known}"
                raise IntegrityError(
                    f"{self._writer.address}: {folder.path.name} {what}; choose another folder"
                )
            old.append(folder.path)
        return old


def _run_folders(out: Path) -> list[tuple[str, Path]]:
    """The run folders that are there, in order, each with what its name says of the run's id."""
    paths = sorted(out.iterdir()) if out.is_dir() else []
    return [(match[2], path) for path in paths if (match := FOLDER.fullmatch(path.name))]


def _is_label(project: str) -> bool:
    """Whether it is `entity/project` or a project that W&B takes."""
    return all(part == fit_name(part, PROJECT) for part in project.split("/", 1))
