"""Logged models written over REST, which gives them ids of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from trackbridge.adapter import Row
from trackbridge_adapters.mlflow import models
from trackbridge_adapters.mlflow.entities import milliseconds, unpacked
from trackbridge_adapters.mlflow.rest_ids import ROW_TAG
from trackbridge_adapters.mlflow.rest_log import METRICS, log_batch, packed
from trackbridge_adapters.mlflow.rest_server import Json, Server

FINAL = (2, 3)
"""States that a model can be given: READY and FAILED (`LoggedModelStatus`, 3.17)."""
STORED = ("status", "status_message", "model_type", "last_updated", "lifecycle_stage")
POINT = ("key", "value", "timestamp", "step", "dataset_name", "dataset_digest")


def create(server: Server, row: Row, run: str, number: str) -> Json:
    """Make the model of a row in the run that made it; gives it as the server has it.

    Its metrics come later: the server adds them to the run's, which knows equal ones.
    """
    metadata = unpacked(row["metadata"])
    hidden = {
        "id": row["version"],
        "created": milliseconds(row["created"]),
        "fields": {name: metadata.get(name) for name in STORED},
    }
    tags = {**metadata.get("tags", {}), ROW_TAG: json.dumps(hidden, sort_keys=True)}
    body = {
        "experiment_id": number,
        "name": row["collection"],
        "source_run_id": run,
        "model_type": metadata.get("model_type") or "",
        "params": _listed(metadata.get("params", {})),
        "tags": _listed(tags),
    }
    model: Json = server.create("mlflow/logged-models", body)["model"]
    return model


def finish(server: Server, row: Row, run: str, native_id: str) -> None:
    """Give a model its metrics and its state."""
    metadata = unpacked(row["metadata"])
    points = [
        {
            **{name: point[name] for name in POINT if point.get(name) is not None},
            "model_id": native_id,
        }
        for point in metadata.get("metrics", [])
    ]
    for some in packed(points, METRICS, lambda point: len(json.dumps(point))):
        log_batch(server, {"run_id": run, "metrics": some})
    if metadata.get("status") in FINAL:
        body = {"model_id": native_id, "status": metadata["status"]}
        server.post(f"mlflow/logged-models/{native_id}", body, "PATCH")


def connect(server: Server, rows: Sequence[Row], run: str, native: Callable[[str], str]) -> None:
    """Say which models a run used, and which it gave as its outputs."""
    used, outputs = [], []
    for row in rows:
        step: Any = unpacked(row["metadata"]).get("step")
        if row["direction"] == "used":
            used.append({"model_id": native(row["version"])})
        elif step is not None:
            outputs.append({"model_id": native(row["version"]), "step": step})
    if used:
        server.post("mlflow/runs/log-inputs", {"run_id": run, "models": used})
    if outputs:
        server.post("mlflow/runs/outputs", {"run_id": run, "models": outputs})


def owner(row: Row) -> str:
    """What the files of a row's model belong to."""
    return models.owner(row["collection"], row["version"])


def _listed(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in values.items()]
