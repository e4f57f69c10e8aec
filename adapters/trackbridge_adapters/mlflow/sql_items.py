"""Items of a database of MLflow's: traces, evaluation datasets, scorers, models without a run."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from trackbridge.adapter import FileRef, ItemRef, Query, Row
from trackbridge.errors import IntegrityError
from trackbridge.optional import ItemInfo
from trackbridge_adapters.mlflow import models, sql_genai, sql_stray, sql_traces, storage
from trackbridge_adapters.mlflow.session import Session
from trackbridge_adapters.mlflow.sql_genai import DatasetWriter, ScorerWriter
from trackbridge_adapters.mlflow.sql_stray import ModelWriter
from trackbridge_adapters.mlflow.sql_traces_write import TraceWriter
from trackbridge_adapters.mlflow.trace_fields import LOCATION_TAG

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trackbridge.adapter import Batch
    from trackbridge_adapters.mlflow.experiments import Experiments
    from trackbridge_adapters.mlflow.session import Transaction
    from trackbridge_adapters.mlflow.staging import Files, Name

NEEDS = {
    "traces": ("trace_info", "spans", "span_metrics", "assessments", "entity_associations"),
    "evaluation_datasets": ("evaluation_dataset_records", "entity_associations"),
    "scorers": ("scorer_versions",),
    "stray_models": ("logged_models",),
}
"""Tables without which a database cannot hold a kind whole."""

FOLDERS = {"traces": "traces", "stray_models": models.FOLDER}
"""Folder of an experiment in which the items of a kind have theirs, where they have files."""


def listed(
    session: Session, kind: str, query: Query, ids: Collection[str] | None, home: Path
) -> Iterator[ItemInfo]:
    """The items of a kind that a query means."""
    if kind == "traces":
        yield from sql_traces.listed(session, query, ids, home)
    elif kind == "evaluation_datasets":
        yield from sql_genai.datasets(session, query, ids)
    elif kind == "scorers":
        yield from sql_genai.scorers(session, query, ids)
    elif kind == "stray_models":
        yield from sql_stray.listed(session, query, ids, home)


def read(session: Session, refs: Sequence[ItemRef], home: Path) -> Iterator[Batch]:
    """The rows of some items of one kind."""
    kind = refs[0].kind if refs else ""
    if kind == "traces":
        yield from sql_traces.read(session, refs, home)
    elif kind == "evaluation_datasets":
        yield from sql_genai.read_datasets(session, refs)
    elif kind == "scorers":
        yield from sql_genai.read_scorers(session, refs)
    elif kind == "stray_models":
        yield from sql_stray.read(session, refs, home)


def location(session: Session, item: ItemRef) -> str | None:
    """Where the files of an item lie, as MLflow says it."""
    if item.kind == "traces":
        where = f"WHERE \"key\" = '{LOCATION_TAG}' AND request_id = ?"
        found = session.select("trace_tags", ["value"], where, [item.id])
    else:
        where = "WHERE model_id = ?"
        found = session.select("logged_models", ["artifact_location"], where, [item.id])
    return found[0][0] if found else None


class _KindWriter(Protocol):
    kind: str

    def add(self, table: str, rows: Sequence[Row]) -> None: ...


class Items:
    """Items of a chunk on their way into a transaction."""

    def __init__(self, transaction: Transaction, experiments: Experiments, staging: Files) -> None:
        self._experiments, self._staging = experiments, staging
        self._traces = TraceWriter(transaction, experiments)
        self._models = ModelWriter(transaction, experiments)
        writers: tuple[_KindWriter, ...] = (
            self._traces,
            self._models,
            DatasetWriter(transaction, experiments),
            ScorerWriter(transaction, experiments),
        )
        self._writers = {writer.kind: writer for writer in writers}
        self._placed: dict[str, dict[str, Row]] = {kind: {} for kind in FOLDERS}
        """Items of the kinds that have files, by id."""
        self.old: set[str] = set()
        """Folders in which their files were so far."""

    def write(self, batch: Batch) -> None:
        from trackbridge.schema import ITEMS

        kind = next((k for k, i in ITEMS.items() if batch.table in (k, *i.parts)), None)
        if kind is None:  # the rows of `item_files` are the files themselves
            return
        rows = batch.data.to_pylist()
        if kind in FOLDERS and batch.table == kind:
            ids = [row[ITEMS[kind].id] for row in rows]
            of_kind = self._traces if kind == "traces" else self._models
            self.old |= set(of_kind.places(ids).values())
            self._placed[kind].update(zip(ids, rows))
        self._writers[kind].add(batch.table, rows)

    def name(self, file: FileRef) -> Name:
        """What the staged files of an item are called; `IntegrityError` for one that has none."""
        item = ItemRef.of(file)
        if item is None or item.kind not in FOLDERS:
            raise IntegrityError(f"{file.owner or file.run.run_id}: not written, has no files here")
        return "", file.owner

    def place(self) -> None:
        """Find folders for the files, and write down where they are."""
        self._traces.place(self._folders("traces"))
        self._models.place(self._folders("stray_models"))

    def _folders(self, kind: str) -> Mapping[str, str]:
        folders: dict[str, str] = {}
        for item, row in self._placed[kind].items():
            experiment = self._experiments.find(row["project"])
            parent = f"{experiment.folder}/{FOLDERS[kind]}/{item}"
            name = ("", f"{kind}:{item}")
            if storage.is_store(row["source"]):
                folders[item] = row["source"]
            elif kind == "stray_models" or self._staging.has(name):
                folders[item] = self._staging.claim(name, parent, native=True)
            elif row["source"] is not None:  # where MLflow may put files of its own one day
                folders[item] = f"{parent}/artifacts.2"
        return folders
