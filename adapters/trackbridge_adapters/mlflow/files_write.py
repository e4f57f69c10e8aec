"""Writes runs into a file store of MLflow's, a chunk as one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from trackbridge import disk
from trackbridge.adapter import STORE, Batch, FileRef, Presentation, Row, RunKey, RunRef
from trackbridge.disk import system_errors
from trackbridge.errors import ConfigError, IntegrityError, TransientError
from trackbridge.locks import Lock
from trackbridge_adapters.mlflow import (
    artifacts,
    chunk,
    files_models_write,
    files_names,
    files_rows,
    folders,
    head,
    translate,
)
from trackbridge_adapters.mlflow.capabilities import FILES
from trackbridge_adapters.mlflow.entities import (
    KEY_TAG,
    text,
)
from trackbridge_adapters.mlflow.files import FileReader
from trackbridge_adapters.mlflow.files_experiments import Experiments
from trackbridge_adapters.mlflow.files_models import Models
from trackbridge_adapters.mlflow.files_points_write import MetricFiles
from trackbridge_adapters.mlflow.files_registry import Registry
from trackbridge_adapters.mlflow.files_small import yaml_of
from trackbridge_adapters.mlflow.files_staging import HOME, LOCK, SECONDS, Staging
from trackbridge_adapters.mlflow.folders import META, MODELS, TRASH, Experiment

DRAFT = f".{META}.new"


class FileWriter(FileReader):
    """A folder of experiments that may not exist yet."""

    capabilities = FILES
    advice = "MLflow opens file stores only with MLFLOW_ALLOW_FILE_STORE=true in its environment"

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        head.check_place(root)
        if not folders.is_store(root) and not _is_free(root):
            raise ConfigError(
                f"{root}: holds other files, no file store of MLflow's; choose a new folder"
            )

    def target(self, key: RunKey) -> RunRef:
        return translate.target(key)

    def present(self, key: RunKey, tables: Mapping[str, list[Row]]) -> Presentation:
        parent = translate.parent_of(key, tables)
        shown = translate.present(key, tables, parent, has_models=True, tag_length=None)
        return files_names.settled(shown)

    def open(self, keys: Sequence[RunKey]) -> FileSink:
        with system_errors(self.root):
            _make(self.root)
        return FileSink(self.root, {self.target(key): key for key in keys}, self._known.clear)


class FileSink:
    """A chunk being written, unseen; other writers wait for no more than its commit.

    Without runs it keeps them out from its beginning: what belongs to no run may depend on what is
    there.
    """

    def __init__(
        self, root: Path, keys: Mapping[RunRef, RunKey], on_commit: Callable[[], None]
    ) -> None:
        self._root, self._keys, self._on_commit = root, keys, on_commit
        self._rows: dict[str, list[Row]] = defaultdict(list)
        self._points = MetricFiles()
        self._staging = Staging(root)
        try:
            if not keys:
                self._staging.hold()
            self._runs = {ref.run_id: self._staging.place() for ref in keys}
            self._check(folders.experiments(root))
        except BaseException:
            self._staging.close()
            raise
        self._files: dict[tuple[str, str], Path] = {}

    def __enter__(self) -> FileSink:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._staging.close()

    def write(self, batch: Batch) -> None:
        if batch.table != "metrics":
            self._rows[batch.table] += batch.data.to_pylist()
        elif batch.data.num_rows:
            with system_errors(self._root):
                self._points.append(batch.data, self._runs)

    def put_file(self, file: FileRef, data: BinaryIO) -> None:
        if file.run != STORE:
            chunk.check_meant(self._root, file.run, self._keys)
        place = self._place(file)
        with system_errors(place):
            place.parent.mkdir(parents=True, exist_ok=True)
        disk.write(place, data)
        if file.run == STORE:
            self._staging.put(place, self._root / folders.of_store(file.path))
        elif not file.owner and (link := artifacts.thumbnail(file.path)):
            with system_errors(place):
                artifacts.link(place, place.with_name(link.rpartition("/")[2]))

    def commit(self) -> Mapping[RunKey, RunRef]:
        rows = chunk.by_run(self._root, self._rows["runs"], self._keys)
        small = {table: _by_run(self._rows[table]) for table in ("params", "tags")}
        with system_errors(self._root):
            for ref, key in self._keys.items():
                pairs = (small[table][ref] for table in ("params", "tags"))
                files_rows.write_pairs(self._runs[ref.run_id], key, *pairs)
            with self._staging.locked():
                self._commit(rows)
        self._on_commit()
        return {key: ref for ref, key in self._keys.items()}

    def _commit(self, rows: Mapping[RunRef, Row]) -> None:
        there = folders.experiments(self._root)
        old = self._check(there)
        experiments = Experiments(self._staging, there)
        experiments.write(self._rows["projects"])
        datasets = files_rows.Datasets(self._staging)
        inputs, made = (_by_run(self._rows[table]) for table in ("inputs", "artifacts"))
        places: set[Path] = set()
        for ref, row in rows.items():
            run, experiment = self._runs[ref.run_id], experiments.find(ref.project)
            files_rows.write_run(run, row, experiment)
            datasets.write(run, experiment, inputs[ref])
            places |= files_models_write.write(
                self._staging, run, experiment, made[ref], self._files
            )
            places.add(experiment.folder / ref.run_id)
            self._staging.put(run, experiment.folder / ref.run_id)
        for run_id, owner in self._files:
            if self._files[run_id, owner].exists():
                raise IntegrityError(f"run {run_id}: files of {owner!r}, which is no model of it")
        for path in sorted(old - places):
            self._staging.drop(path)
        registry = Registry(self._staging, [experiment.path for experiment in there])
        registry.write(self._rows["models"], self._rows["model_versions"])
        self._staging.commit()

    def _place(self, file: FileRef) -> Path:
        """Where a file is staged."""
        if file.run == STORE:
            artifacts.inside(self._root, file.path)
            return self._staging.place()
        if not file.owner:
            return artifacts.inside(self._runs[file.run.run_id] / "artifacts", file.path)
        name = (file.run.run_id, file.owner)
        if name not in self._files:
            self._files[name] = self._staging.place()
        return artifacts.inside(self._files[name], file.path)

    def _check(self, there: Sequence[Experiment]) -> set[Path]:
        """What is there of the runs, and models that they have made.

        `IntegrityError` where one of the ids belongs to another run.
        """
        chunk.check_distinct(self._root, self._keys)
        keys = {ref.run_id: str(key) for ref, key in self._keys.items()}
        found: set[Path] = set()
        for experiment in there if keys else ():
            runs = [path for path in folders.subfolders(experiment.path) if path.name in keys]
            made = Models(experiment) if runs else None
            for path in runs:
                self._check_key(path, keys[path.name])
                found.add(path)
                found.update(made.made_by(path.name) if made else ())
        return found

    def _check_key(self, run: Path, key: str) -> None:
        try:
            there = text((run / "tags" / KEY_TAG).read_bytes(), "", [])
        except OSError:
            there = None
        chunk.check_origin(self._root, run.name, there, key)


def _is_free(root: Path) -> bool:
    """Whether a folder holds nothing, or no more than what a `_make` has left that was killed."""
    own = {(TRASH,), (MODELS,), (HOME,), (HOME, DRAFT), (HOME, META), (LOCK,)}
    return all(path.relative_to(root).parts in own for path in root.rglob("*"))


def _make(root: Path) -> None:
    """Make the store if there is none, with what MLflow puts into a new one (`FileStore`, 3.17)."""
    if folders.is_store(root):
        return
    root.mkdir(parents=True, exist_ok=True)
    lock = Lock(root / LOCK)
    if not lock.acquire(SECONDS):
        raise TransientError(f"{root}: another program is writing to it; trying again")
    try:
        if folders.is_store(root):
            return
        for name in (TRASH, MODELS, HOME):
            (root / name).mkdir(exist_ok=True)
        draft = root / HOME / DRAFT
        draft.write_bytes(
            yaml_of(
                {
                    "artifact_location": f"{root.absolute().as_uri()}/{HOME}",
                    "experiment_id": HOME,
                    "lifecycle_stage": "active",
                    "name": "Default",
                }
            )
        )
        draft.replace(root / HOME / META)
    finally:
        lock.release()


def _by_run(rows: Sequence[Row]) -> defaultdict[RunRef, list[Row]]:
    found: defaultdict[RunRef, list[Row]] = defaultdict(list)
    for row in rows:
        found[RunRef(row["project"], row["run_id"])].append(row)
    return found
