"""Logged models of a chunk as folders of a file store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trackbridge.adapter import Row
from trackbridge.errors import IntegrityError
from trackbridge_adapters.mlflow import folders, models
from trackbridge_adapters.mlflow.entities import milliseconds, unpacked
from trackbridge_adapters.mlflow.files_experiments import Place
from trackbridge_adapters.mlflow.files_models import FIELDS
from trackbridge_adapters.mlflow.files_rows import write_edge
from trackbridge_adapters.mlflow.files_small import write_meta, write_values
from trackbridge_adapters.mlflow.files_staging import Staging
from trackbridge_adapters.mlflow.folders import META

Name = tuple[str, str]
"""Run and owner of files."""


def write(
    staging: Staging,
    run: Path,
    experiment: Place,
    rows: Sequence[Row],
    files: Mapping[Name, Path],
) -> set[Path]:
    """What a run says of models; gives the places of those that it has made.

    `files` has the staged folder of each model's files.
    """
    made = set()
    for row in rows:
        model_id = row["version"]
        step = unpacked(row["metadata"]).get("step")
        if row["direction"] == "used":
            write_edge(run, model_id, "MODEL", row["run_id"], {})
        elif step is not None:
            _write_output(run, model_id, step)
        if models.is_made(row):
            place = experiment.folder / models.FOLDER / model_id
            _check(staging, place, row)
            staged = staging.place()
            _write_model(staged, row, experiment)
            found = files.get((row["run_id"], models.owner(row["collection"], model_id)))
            if found is not None:
                found.replace(staged / "artifacts")
            staging.put(staged, place)
            made.add(place)
    return made


def _check(staging: Staging, place: Path, row: Row) -> None:
    if not place.exists():
        return
    made_by = folders.read_yaml(place / META, "", []).get("source_run_id")
    if made_by != row["run_id"]:
        raise IntegrityError(f"{staging.root}: model {row['version']} is there already")


def _write_output(run: Path, model_id: str, step: int) -> None:
    edge = {
        "source_type": "RUN_OUTPUT",
        "source_id": model_id,
        "destination_type": "MODEL_OUTPUT",
        "destination_id": model_id,
        "tags": {},
        "step": step,
    }
    write_meta(run / "outputs" / model_id, edge)


def _write_model(staged: Path, row: Row, experiment: Place) -> None:
    """As `create_logged_model` writes it (file_store.py, 3.17)."""
    metadata, model_id = unpacked(row["metadata"]), row["version"]
    created = milliseconds(row["created"])
    values: dict[str, Any] = {
        "artifact_location": f"{experiment.uri}/{models.FOLDER}/{model_id}/artifacts",
        "creation_timestamp": created,
        "experiment_id": experiment.number,
        "model_id": model_id,
        "name": row["collection"],
        "source_run_id": row["run_id"],
        **{theirs: metadata.get(ours) for theirs, ours in FIELDS.items()},
    }
    if values["lifecycle_stage"] is None:
        values.pop("lifecycle_stage")
    write_meta(staged, values)
    for name in ("metrics", "params"):
        (staged / name).mkdir()
    for name in ("params", "tags"):
        write_values(staged / name, metadata.get(name, {}))
    write_values(staged / "metrics", _lines(metadata.get("metrics", [])))


def _lines(points: Iterable[Mapping[str, Any]]) -> dict[str, str | None]:
    """Files by key (file_store.py, `_log_model_metric`, 3.17)."""
    found: dict[str, str | None] = defaultdict(str)
    for point in points:
        names = ("timestamp", "value", "step", "run_id", "dataset_name", "dataset_digest")
        words = [str(point[name]) for name in names if name in point]
        found[point["key"]] = f"{found[point['key']]}{' '.join(words)}\n"
    return found
