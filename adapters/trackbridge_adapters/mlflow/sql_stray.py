"""Logged models of a database of MLflow's that no run of it has made, read and written."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackbridge.adapter import ItemRef, Query, Row
from trackbridge.errors import IntegrityError
from trackbridge.optional import ItemInfo
from trackbridge_adapters.mlflow import sql_models
from trackbridge_adapters.mlflow.entities import moment
from trackbridge_adapters.mlflow.session import IN, Session
from trackbridge_adapters.mlflow.sql_list import experiments
from trackbridge_adapters.mlflow.sql_traces import files, files_there

if TYPE_CHECKING:
    from trackbridge.adapter import Batch
    from trackbridge_adapters.mlflow.experiments import Experiments
    from trackbridge_adapters.mlflow.session import Transaction

KIND = "stray_models"
STRAY = "(source_run_id IS NULL OR source_run_id NOT IN (SELECT run_uuid FROM runs))"
COLUMNS = ("experiment_id", *sql_models.COLUMNS)
NAMES = ("experiment", *sql_models.COLUMNS.values())


def listed(
    session: Session, query: Query, ids: Collection[str] | None, home: Path
) -> Iterator[ItemInfo]:
    """The models without a run in the experiments that a query means."""
    labels, deleted = experiments(session)
    found = list(_found(session, ids))
    filed = files_there([model["location"] for model in found], home)
    for (row, model), entries in zip(sql_models.described(session, found, {}), filed):
        number, made = str(model["experiment"]), moment(model["created"])
        project = labels.get(number, number)
        if (
            (not query.projects or project in query.projects)
            and (query.include_deleted or number not in deleted)
            and (query.since is None or (made is not None and made >= query.since))
            and (not query.run_ids or model["run_id"] in query.run_ids)
        ):
            state = [row, model, entries]
            content = json.dumps(state, default=str, sort_keys=True)
            mark = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:16]
            ref = ItemRef(KIND, project, model["model_id"])
            yield ItemInfo(ref, mark, 1, made, model["run_id"])


def read(session: Session, refs: Sequence[ItemRef], home: Path) -> Iterator[Batch]:
    """The rows of some models, files last."""
    from trackbridge.columns import batches

    projects = {ref.id: ref.project for ref in refs}
    found = list(_found(session, projects))
    yield from batches(
        KIND,
        [
            {
                "project": projects[model["model_id"]],
                "model_id": model["model_id"],
                "run_id": model["run_id"],
                "name": model["name"],
                "created": row["created"],
                "metadata": row["metadata"],
                "source": model["location"],
            }
            for row, model in sql_models.described(session, found, {})
        ],
    )
    filed = files([model["location"] for model in found], home)
    yield from batches(
        "item_files",
        [
            {
                "project": projects[model["model_id"]],
                "kind": KIND,
                "item_id": model["model_id"],
                "path": path,
                "size": size,
            }
            for model, entries in zip(found, filed)
            for path, size, _ in entries
        ],
    )


def _found(session: Session, ids: Collection[str] | None) -> Iterator[dict[str, Any]]:
    where, values = f"WHERE {STRAY}", []
    if ids is not None:
        where, values = f"{where} AND model_id {IN}", [json.dumps(sorted(ids))]
    for row in session.select("logged_models", COLUMNS, f"{where} ORDER BY model_id", values):
        yield dict(zip(NAMES, row))


class ModelWriter:
    """Models without a run on their way into a transaction; those of the same ids are replaced."""

    kind = KIND

    def __init__(self, transaction: Transaction, experiments: Experiments) -> None:
        self._transaction, self._experiments = transaction, experiments
        self._rows: list[Row] = []

    def places(self, ids: Sequence[str]) -> dict[str, str]:
        """Where the files of models lie that are there."""
        columns, values = ["model_id", "artifact_location"], [json.dumps(list(ids))]
        where = f"WHERE model_id {IN}"
        return dict(self._transaction.select("logged_models", columns, where, values))

    def add(self, table: str, rows: Sequence[Row]) -> None:
        """Rows of the only table; they are written when it is clear where their files lie."""
        transaction, ids = self._transaction, [row["model_id"] for row in rows]
        where = f"WHERE NOT {STRAY} AND model_id {IN}"
        owned = transaction.select("logged_models", ["model_id"], where, [json.dumps(ids)])
        if owned:
            raise IntegrityError(f"{transaction.name}: model {owned[0][0]} is there, with its run")
        for native in sorted(transaction.tables & sql_models.TABLES):
            if native != "logged_models":
                transaction.delete(native, "model_id", ids)
        transaction.delete("logged_models", "model_id", ids)
        self._rows += rows

    def place(self, folders: Mapping[str, str]) -> None:
        """Write the models, and say where their files lie."""
        new: dict[str, list[Row]] = defaultdict(list)
        for row in self._rows:
            number = self._experiments.find(row["project"]).number
            made = {**row, "version": row["model_id"], "collection": row["name"]}
            sql_models.add_model(new, made, number, folders[row["model_id"]])
        for table, native in new.items():
            self._transaction.insert(table, native)
        if "storage_location" in self._transaction.columns("model_versions"):
            for model, folder in folders.items():
                query = "UPDATE model_versions SET storage_location = ? WHERE source = ?"
                self._transaction.execute(query, [folder, f"models:/{model}"])
