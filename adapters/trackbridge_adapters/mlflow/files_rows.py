"""Rows of the run model as the small files of a run's folder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trackbridge.adapter import Row, RunKey
from trackbridge.errors import IntegrityError
from trackbridge_adapters.mlflow import folders
from trackbridge_adapters.mlflow.entities import (
    CONTEXT,
    KEY_TAG,
    SOURCES,
    STATES,
    milliseconds,
    unpacked,
)
from trackbridge_adapters.mlflow.files_experiments import Place
from trackbridge_adapters.mlflow.files_small import write_meta, write_values
from trackbridge_adapters.mlflow.files_staging import Staging
from trackbridge_adapters.mlflow.folders import META

NEEDED = ("metrics", "params", "artifacts")
"""Without these a folder is no run to MLflow (file_store.py, `_is_valid_run_directory`, 3.17)."""

DATASET = {"kind": "source_type", "source": "source", "schema": "schema", "profile": "profile"}
"""Column of `inputs` in the run model -> name in a dataset's meta.yaml."""


def write_pairs(run: Path, key: RunKey, params: Sequence[Row], tags: Sequence[Row]) -> None:
    """Params, tags and the run's key."""
    for name in NEEDED:
        (run / name).mkdir(parents=True, exist_ok=True)
    write_values(run / "params", {row["key"]: row["value"] for row in params})
    values = {row["key"]: row["value"] for row in tags}
    write_values(run / "tags", {**values, KEY_TAG: str(key)})


def write_run(run: Path, row: Row, experiment: Place) -> None:
    """The run's own meta.yaml, as `create_run` and `delete_run` write it (file_store.py, 3.17)."""
    extra = unpacked(row["extra"])
    numbers = {name: number for number, name in STATES.items()}
    sources = {name: number for number, name in SOURCES.items()}
    values: dict[str, Any] = {
        "artifact_uri": f"{experiment.uri}/{row['run_id']}/artifacts",
        "end_time": milliseconds(row["ended"]),
        "entry_point_name": extra.get("entry_point_name", ""),
        "experiment_id": experiment.number,
        "lifecycle_stage": "deleted" if row["deleted"] else "active",
        "run_id": row["run_id"],
        "run_name": row["name"],
        "source_name": row["program"] or "",
        "source_type": sources[extra.get("source_type", "UNKNOWN")],
        "source_version": extra.get("source_version", ""),
        "start_time": milliseconds(row["started"]),
        "status": numbers.get(row["status"]),
        "tags": [],
        "user_id": row["user"] or "",
    }
    if "deleted_time" in extra:
        values["deleted_time"] = extra["deleted_time"]
    write_meta(run, values)


class Datasets:
    """Datasets of the experiments of a chunk: each once, with its edges to runs."""

    def __init__(self, staging: Staging) -> None:
        self._staging = staging
        self._known: dict[Path, dict[str, Any]] = {}

    def write(self, run: Path, experiment: Place, rows: Sequence[Row]) -> None:
        """The inputs of a run that are datasets (file_store.py, `log_inputs`, 3.17)."""
        for row in rows:
            dataset = self._find(experiment, row)
            tags = unpacked(row["extra"])
            if row["context"] is not None:
                tags[CONTEXT] = row["context"]
            write_edge(run, dataset, "DATASET", row["run_id"], tags)

    def _find(self, experiment: Place, row: Row) -> str:
        """The id of a dataset, which is made if it is not there."""
        values = {"name": row["name"], "digest": row["digest"]}
        values.update({theirs: row[ours] for ours, theirs in DATASET.items()})
        for separator in ("", "\0"):  # MLflow's own id may be that of another dataset
            number = _md5(f"{row['name']}{separator}{row['digest']}")
            place = experiment.folder / "datasets" / number
            if place not in self._known and (place / META).exists():
                self._known[place] = folders.read_yaml(place / META, "", [])
            there = self._known.get(place)
            if there is None:
                staged = self._staging.place()
                write_meta(staged, values)
                self._staging.put(staged, place)
                self._known[place] = values
                return number
            if all(there.get(name) == value for name, value in values.items()):
                return number
            if (there.get("name"), there.get("digest")) == (row["name"], row["digest"]):
                break
        raise IntegrityError(
            f"{self._staging.root}: dataset {row['name']!r} with digest {row['digest']!r} is"
            f" there already with another source, schema or profile (run {row['run_id']});"
            " give its experiment another name with --rename-project OLD=NEW"
        )


def write_edge(run: Path, source: str, kind: str, run_id: str, tags: dict[str, Any]) -> None:
    """That a run has a dataset or model as input; the destination is what MLflow writes, too."""
    edge = {
        "source_type": kind,
        "source_id": source,
        "destination_type": "RUN",
        "destination_id": source,
        "tags": tags,
    }
    write_meta(run / "inputs" / _md5(f"{source}{run_id}"), edge)


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
