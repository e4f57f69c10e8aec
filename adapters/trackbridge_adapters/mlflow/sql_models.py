"""Logged models of a database of MLflow's, read and written."""

from __future__ import annotations

import json
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from trackbridge.adapter import Row
from trackbridge.errors import IntegrityError
from trackbridge_adapters.mlflow import models
from trackbridge_adapters.mlflow.entities import milliseconds, native_tags, unpacked
from trackbridge_adapters.mlflow.experiments import Experiment
from trackbridge_adapters.mlflow.session import IN, Session, Transaction
from trackbridge_adapters.mlflow.staging import Files, Name

COLUMNS = {
    "model_id": "model_id",
    "name": "name",
    "source_run_id": "run_id",
    "artifact_location": "location",
    "creation_timestamp_ms": "created",
    "last_updated_timestamp_ms": "last_updated",
    "status": "status",
    "status_message": "status_message",
    "model_type": "model_type",
    "lifecycle_stage": "lifecycle_stage",
}
METRIC = {
    "metric_name": "key",
    "metric_value": "value",
    "metric_timestamp_ms": "timestamp",
    "metric_step": "step",
    "run_id": "run_id",
    "dataset_name": "dataset_name",
    "dataset_digest": "dataset_digest",
}
TABLES = frozenset(
    {"logged_models", "logged_model_params", "logged_model_tags", "logged_model_metrics"}
)


def read(session: Session, runs: str, label: Callable[[str], Row]) -> Iterator[Row]:
    """Rows of `artifacts` of some runs (`runs`: their ids as JSON)."""
    edges = list(_edges(session, runs))
    outputs = {(run, model): step for kind, run, model, step in edges if kind == "RUN_OUTPUT"}
    for row, model in described(session, list(made_by(session, runs)), outputs):
        yield {**row, **label(model["run_id"])}
        outputs.pop((model["run_id"], model["model_id"]), None)
    for (run_id, model_id), step in outputs.items():
        yield models.mentioned(label(run_id), model_id, "logged", step)
    for kind, run_id, model_id, _ in edges:
        if kind == "RUN_INPUT":
            yield models.mentioned(label(run_id), model_id, "used")


def described(
    session: Session, found: Sequence[dict[str, Any]], outputs: Mapping[tuple[str, str], int]
) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Models with their params, tags and metrics as rows without a label, and as they are native.

    `outputs` has the step at which a run has a model as its output.
    """
    ids = json.dumps([model["model_id"] for model in found])
    params = _pairs(session, "logged_model_params", "param", ids)
    tags = _pairs(session, "logged_model_tags", "tag", ids)
    points: dict[str, list[dict[str, Any]]] = defaultdict(list)
    where = f"WHERE model_id {IN}"
    for model_id, *values in session.select(
        "logged_model_metrics", ["model_id", *METRIC], where, [ids]
    ):
        points[model_id].append(dict(zip(METRIC.values(), values)))
    for model in found:
        model_id, created = model["model_id"], model["created"]
        row = models.made(
            {},
            model["name"],
            model_id,
            None if created is None else created * 1000,
            model,
            params=params[model_id],
            tags=tags[model_id],
            points=points[model_id],
            step=outputs.get((model["run_id"], model_id)),
        )
        yield row, model


def made_by(session: Session, runs: str) -> Iterator[dict[str, Any]]:
    """Native values of the models that some runs have made."""
    where = f"WHERE source_run_id {IN} ORDER BY creation_timestamp_ms, model_id"
    for row in session.select("logged_models", list(COLUMNS), where, [runs]):
        yield dict(zip(COLUMNS.values(), row))


def write(
    transaction: Transaction,
    experiments: Mapping[str, Experiment],
    rows: Sequence[Row],
    staging: Files,
) -> dict[Name, str]:
    """Write models; gives the folder of each by its run's id and its owner."""
    folders: dict[Name, str] = {}
    new: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        experiment = experiments[row["project"]]
        if models.is_made(row):
            name = (row["run_id"], models.owner(row["collection"], row["version"]))
            parent = f"{experiment.folder}/{models.FOLDER}/{row['version']}"
            folder = folders[name] = staging.claim(name, parent, native=True)
            add_model(new, row, experiment.number, folder)
        _add_edge(new, row)
    known = _known(transaction, [row["model_id"] for row in new["logged_models"]])
    if known:
        raise IntegrityError(f"{transaction.name}: model {known[0]} is there already")
    for table, native in new.items():
        transaction.insert(table, native)
    return folders


def delete(transaction: Transaction, runs: Sequence[str]) -> dict[Name, str]:
    """Remove the models that these runs have made, and what they say of others.

    Gives the folder of each model's files by its run's id and its owner.
    """
    found = list(made_by(transaction, json.dumps(list(runs))))
    for table in transaction.tables & TABLES:
        transaction.delete(table, "model_id", [model["model_id"] for model in found])
    edges = "AND source_type IN ('RUN_INPUT', 'RUN_OUTPUT')"
    transaction.delete("inputs", "source_id", runs, edges)
    return {
        (model["run_id"], models.owner(model["name"], model["model_id"])): model["location"]
        for model in found
    }


def _pairs(
    session: Session, table: str, prefix: str, ids: str
) -> defaultdict[str, dict[str, str | None]]:
    found: defaultdict[str, dict[str, str | None]] = defaultdict(dict)
    columns = ["model_id", f"{prefix}_key", f"{prefix}_value"]
    for model, key, value in session.select(table, columns, f"WHERE model_id {IN}", [ids]):
        found[model][key] = value
    return found


def _edges(session: Session, runs: str) -> Iterator[tuple[str, str, str, int]]:
    columns = ["source_type", "source_id", "destination_id", "step"]
    where = f"WHERE source_type IN ('RUN_INPUT', 'RUN_OUTPUT') AND source_id {IN}"
    for kind, run, model, step in session.select("inputs", columns, where, [runs]):
        yield kind, run, model, step or 0


def add_model(new: dict[str, list[Row]], row: Row, experiment: int, folder: str) -> None:
    metadata, model_id = unpacked(row["metadata"]), row["version"]
    owned = {"model_id": model_id, "experiment_id": experiment}
    created = milliseconds(row["created"]) or 0
    new["logged_models"].append(
        {
            **owned,
            "name": row["collection"],
            "artifact_location": folder,
            "creation_timestamp_ms": created,
            "last_updated_timestamp_ms": metadata.get("last_updated", created),
            "status": metadata["status"],
            "lifecycle_stage": metadata.get("lifecycle_stage"),
            "model_type": metadata.get("model_type"),
            "source_run_id": row["run_id"],
            "status_message": metadata.get("status_message"),
        }
    )
    for prefix, name in (("param", "params"), ("tag", "tags")):
        pairs = native_tags(json.dumps(metadata.get(name, {})))
        new[f"logged_model_{name}"] += [
            {**owned, f"{prefix}_key": key, f"{prefix}_value": value}
            for key, value in pairs.items()
        ]
    for point in metadata.get("metrics", []):
        value = point.get("value")
        native = {column: point.get(name) for column, name in METRIC.items()}
        native["metric_value"] = None if value is None else float(value)
        new["logged_model_metrics"].append({**owned, **native})


def _add_edge(new: dict[str, list[Row]], row: Row) -> None:
    step = unpacked(row["metadata"]).get("step")
    kind = "INPUT" if row["direction"] == "used" else "OUTPUT"
    if kind == "INPUT" or step is not None:
        new["inputs"].append(
            {
                "input_uuid": uuid.uuid4().hex,
                "source_type": f"RUN_{kind}",
                "source_id": row["run_id"],
                "destination_type": f"MODEL_{kind}",
                "destination_id": row["version"],
                "step": step or 0,
            }
        )


def _known(transaction: Transaction, ids: Sequence[str]) -> list[str]:
    where = f"WHERE model_id {IN}"
    rows = transaction.select("logged_models", ["model_id"], where, [json.dumps(list(ids))])
    return [row[0] for row in rows]
