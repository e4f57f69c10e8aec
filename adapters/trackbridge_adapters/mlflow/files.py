"""Reads MLflow's file stores (`mlruns`), in every layout since 0.x."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from trackbridge.adapter import STORE, FileRef, ItemRef, Query, RunInfo, RunRef
from trackbridge.errors import NotFoundError
from trackbridge.optional import Excerpt, ItemInfo
from trackbridge_adapters.mlflow import artifacts, folders
from trackbridge_adapters.mlflow.capabilities import FILES
from trackbridge_adapters.mlflow.entities import KEY_TAG, RUN_NAME, moment, run_key, status, text
from trackbridge_adapters.mlflow.folders import PARTS, RunFolder

if TYPE_CHECKING:
    from trackbridge.adapter import Batch

BLOCK = 1 << 20
ARTIFACTS = "artifacts"


class FileReader:
    """A folder with experiments; every run arrives, and what is broken of it is named."""

    capabilities = replace(FILES, items=("traces",))

    def __init__(self, root: Path) -> None:
        self.address = f"mlflow:{root}"
        self.root = root
        self.home = root.absolute().parent
        self._known: dict[RunRef, RunFolder] = {}

    def list_runs(self, query: Query) -> Iterator[RunInfo]:
        from trackbridge_adapters.mlflow import files_models

        self._known = {}
        models: dict[Path, files_models.Models] = {}
        for run in self._index(query.run_ids):
            if (query.projects and run.ref.project not in query.projects) or (
                not query.include_deleted and _is_deleted(run)
            ):
                continue
            path = run.experiment.path
            models[path] = models.get(path) or files_models.Models(run.experiment)
            info = _info(run, models[path].made_by(run.ref.run_id), self.home)
            if query.since is None or (info.started and info.started >= query.since):
                yield info

    def read_runs(
        self, refs: Sequence[RunRef], tables: Collection[str] | None = None
    ) -> Iterator[Batch]:
        from trackbridge_adapters.mlflow import files_read

        runs = [self._run(ref) for ref in refs]
        yield from files_read.runs(runs, tables, self.home)

    def read_points(self, refs: Sequence[RunRef], excerpt: Excerpt) -> Iterator[Batch]:
        from trackbridge_adapters.mlflow import files_read

        yield from files_read.points([self._run(ref) for ref in refs], excerpt)

    def read_shared(self, query: Query) -> Iterator[Batch]:
        from trackbridge_adapters.mlflow import files_shared

        yield from files_shared.read(self.root, query)

    def list_items(
        self, kind: str, query: Query, ids: Collection[str] | None = None
    ) -> Iterator[ItemInfo]:
        from trackbridge_adapters.mlflow import files_traces

        yield from files_traces.listed(self.root, query, ids, self.home)

    def read_items(self, refs: Sequence[ItemRef]) -> Iterator[Batch]:
        from trackbridge_adapters.mlflow import files_traces

        yield from files_traces.read(self.root, refs, self.home)

    def not_read(self, query: Query) -> Mapping[str, int]:
        """Nothing: experiments say what in them is not read."""
        return {}

    def open_file(self, file: FileRef) -> BinaryIO:
        item = ItemRef.of(file)
        if item is None:
            data = artifacts.opened(*self._place(file))
        else:
            from trackbridge_adapters.mlflow import files_traces

            there = files_traces.storage_of(self.root, item, self.home)
            data = None if there is None else there.opened(file.path)
        if data is None:
            owner = file.owner if item else f"run {file.run.run_id}"
            raise NotFoundError(f"{self.address}: {owner}: no file {file.path!r}")
        return data

    def _place(self, file: FileRef) -> tuple[Path | None, str]:
        """The folder that a file is in, and its path there."""
        if file.run == STORE:
            return self.root, folders.of_store(file.path)
        if file.owner:
            return self._model_folder(file), file.path
        return self._run(file.run).artifacts(self.home), file.path

    def _model_folder(self, file: FileRef) -> Path | None:
        """Where the files of a model lie that the run has made."""
        from trackbridge_adapters.mlflow import files_models

        experiment = self._run(file.run).experiment
        made = files_models.Models(experiment).made_by(file.run.run_id)
        found = (path for path in made if files_models.owner_of(path) == file.owner)
        return next((path / "artifacts" for path in found), None)

    def _index(self, run_ids: Collection[str] = ()) -> Iterator[RunFolder]:
        """The runs of the store, or those of them with these ids."""
        for experiment in folders.experiments(self.root):
            for run in folders.runs(experiment, run_ids):
                self._known[run.ref] = run
                yield run

    def _run(self, ref: RunRef) -> RunFolder:
        if ref not in self._known:
            for _ in self._index():
                pass
        if ref not in self._known:
            raise NotFoundError(
                f"{self.address}: no run {ref.run_id} in experiment {ref.project!r}"
            )
        return self._known[ref]


def _is_deleted(run: RunFolder) -> bool:
    return run.experiment.deleted or run.meta.get("lifecycle_stage") == "deleted"


def _info(run: RunFolder, models: list[Path], home: Path) -> RunInfo:
    folder = run.artifacts(home)
    state = [_state(f"{run.path}/{part}", part) for part in PARTS if part != ARTIFACTS]
    state += [_state(str(model), model.name) for model in models]
    carried = _tag(run, KEY_TAG) is not None
    if carried:
        state.append(artifacts.sidecar(folder))
    found = list(artifacts.walk(folder, carried=carried)) if folder else []
    for model in models:
        found += artifacts.walk(model / ARTIFACTS)
    content = json.dumps([run.meta, state, found, run.damage], default=str)
    title: Any = run.meta.get("run_name") or run.meta.get("name") or _tag(run, RUN_NAME)
    return RunInfo(
        run.ref,
        run_key(_tag(run, KEY_TAG), run.ref),
        hashlib.sha256(content.encode("utf-8", "surrogateescape")).hexdigest()[:16],
        text(title or None, "", []),
        status(run.meta.get("status")),
        moment(run.meta.get("start_time")),
        sum(_lines(path) for _, path in folders.files(f"{run.path}/metrics")),
        len(found),
        sum(file.size for file in found),
        carried,
        deleted=_is_deleted(run),
    )


def _state(folder: str, label: str) -> Any:
    """Sizes and times of the files below a folder that are no artifacts."""
    found = []
    for name, path in folders.files(folder):
        if not name.startswith(f"{ARTIFACTS}/"):
            with suppress(OSError):
                there = os.stat(path)  # noqa: PTH116 - for thousands of small files
                found.append((label, name, there.st_size, there.st_mtime_ns))
    return found


def _tag(run: RunFolder, key: str) -> str | None:
    try:
        return text(folders.read(f"{run.path}/tags/{key}"), "", [])
    except OSError:
        return None


def _lines(path: str) -> int:
    with suppress(OSError):  # reading the run names it
        return sum(block.count(b"\n") for block in folders.blocks(path, BLOCK))
    return 0
