"""Rows of the run model as rows of MLflow's tables of runs, params, tags and inputs."""

from __future__ import annotations

import json
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence

from trackbridge.adapter import Row, RunKey, RunRef
from trackbridge.errors import IntegrityError
from trackbridge_adapters.mlflow import chunk, sql_models
from trackbridge_adapters.mlflow.entities import (
    CONTEXT,
    KEY_TAG,
    KIND,
    key_text,
    milliseconds,
    unpacked,
)
from trackbridge_adapters.mlflow.experiments import Experiments
from trackbridge_adapters.mlflow.session import IN, Transaction
from trackbridge_adapters.mlflow.staging import Files, Name

DATASET = {
    "kind": "dataset_source_type",
    "source": "dataset_source",
    "schema": "dataset_schema",
    "profile": "dataset_profile",
}
"""Column of `inputs` in the run model -> column of `datasets`."""

GOES_ON = {"status": "RUNNING", "end_time": None}
"""State and end of a run that goes on."""


def write_runs(
    transaction: Transaction,
    experiments: Experiments,
    keys: Mapping[RunRef, RunKey],
    rows: Mapping[str, Sequence[Row]],
    staging: Files,
) -> dict[Name, str]:
    """Write the small tables of a chunk; gives the new folder of each run's and model's files."""
    found = {name: experiments.find(name) for name in {ref.project for ref in keys}}
    runs = chunk.by_run(transaction.name, rows.get("runs", ()), keys)
    folders: dict[Name, str] = {}
    native = []
    for ref, row in runs.items():
        experiment, name = found[ref.project], (ref.run_id, "")
        parent = f"{experiment.folder}/{ref.run_id}"
        folders[name] = staging.claim(name, parent, native=keys[ref].kind == KIND)
        native.append(_run(ref, row, experiment.number, folders[name]))
    transaction.put("runs", ["run_uuid"], native)
    own = [
        {"key": KEY_TAG, "value": key_text(key), "run_uuid": ref.run_id}
        for ref, key in keys.items()
    ]
    transaction.insert("tags", own + _pairs(rows.get("tags", ())))
    transaction.insert("params", _pairs(rows.get("params", ())))
    for project, experiment in found.items():
        inputs = [row for row in rows.get("inputs", ()) if row["project"] == project]
        _write_inputs(transaction, experiment.number, inputs)
    made = sql_models.write(transaction, found, rows.get("artifacts", ()), staging)
    return {**folders, **made}


def extend_runs(transaction: Transaction, rows: Mapping[str, Row]) -> None:
    """Give runs that are there, by their id, what their rows say but for their state and end."""
    for run_id, row in rows.items():
        said = {
            "name": row["name"],
            "source_name": row["program"],
            "user_id": row["user"],
            "start_time": milliseconds(row["started"]),
        }
        native = {**{name: v for name, v in said.items() if v is not None}, **GOES_ON}
        columns = ", ".join(f"{name} = ?" for name in native)
        query = f"UPDATE runs SET {columns} WHERE run_uuid = ?"
        transaction.execute(query, [*native.values(), run_id])


def put_pairs(transaction: Transaction, table: str, rows: Sequence[Row]) -> None:
    """Add params or tags, or give those of the same key their values: of several, the last."""
    last = {(row["run_uuid"], row["key"]): row for row in _pairs(rows)}
    transaction.put(table, ["run_uuid", "key"], list(last.values()))


def delete_inputs(transaction: Transaction, runs: Sequence[str]) -> None:
    """Remove the edges from datasets to these runs, and datasets that no run uses any more."""
    edges = transaction.fetch(
        "SELECT input_uuid, source_id FROM inputs"
        f" WHERE source_type = 'DATASET' AND destination_type = 'RUN' AND destination_id {IN}",
        [json.dumps(list(runs))],
    )
    if edges:
        transaction.delete("input_tags", "input_uuid", [edge for edge, _ in edges])
        transaction.delete("inputs", "input_uuid", [edge for edge, _ in edges])
        unused = "AND dataset_uuid NOT IN (SELECT source_id FROM inputs)"
        transaction.delete("datasets", "dataset_uuid", [dataset for _, dataset in edges], unused)


def _run(ref: RunRef, row: Row, experiment: int, folder: str) -> Row:
    extra = unpacked(row["extra"])
    return {
        "run_uuid": ref.run_id,
        "name": row["name"],
        "source_type": extra.get("source_type", "UNKNOWN"),
        "source_name": row["program"] or "",
        "entry_point_name": extra.get("entry_point_name", ""),
        "user_id": row["user"] or "",
        "status": row["status"].upper() if row["status"] else None,
        "start_time": milliseconds(row["started"]),
        "end_time": milliseconds(row["ended"]),
        "deleted_time": extra.get("deleted_time"),
        "source_version": extra.get("source_version", ""),
        "lifecycle_stage": "deleted" if row["deleted"] else "active",
        "artifact_uri": folder,
        "experiment_id": experiment,
    }


def _pairs(rows: Sequence[Row]) -> list[Row]:
    return [{"key": r["key"], "value": r["value"], "run_uuid": r["run_id"]} for r in rows]


def _write_inputs(transaction: Transaction, experiment: int, rows: Sequence[Row]) -> None:
    """Datasets, each once in an experiment, their edges to runs, and the tags of the edges."""
    columns = ["dataset_uuid", "name", "digest", *DATASET.values()]
    there = transaction.select("datasets", columns, "WHERE experiment_id = ?", [experiment])
    known = {(name, digest): (number, values) for number, name, digest, *values in there}
    new: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        name, values = (row["name"], row["digest"]), [row[column] for column in DATASET]
        if name not in known:
            known[name] = (uuid.uuid4().hex, values)
            new["datasets"].append(
                {
                    "dataset_uuid": known[name][0],
                    "experiment_id": experiment,
                    "name": row["name"],
                    "digest": row["digest"],
                    **dict(zip(DATASET.values(), values)),
                }
            )
        number, content = known[name]
        if content != values:
            raise IntegrityError(
                f"{transaction.name}: dataset {row['name']!r} with digest {row['digest']!r} is"
                f" there already with another source, schema or profile (run {row['run_id']});"
                " give its experiment another name with --rename-project OLD=NEW"
            )
        _add_edge(new, number, row)
    for table, native in new.items():
        transaction.insert(table, native)


def _add_edge(new: dict[str, list[Row]], dataset: str, row: Row) -> None:
    edge = uuid.uuid4().hex
    new["inputs"].append(
        {
            "input_uuid": edge,
            "source_type": "DATASET",
            "source_id": dataset,
            "destination_type": "RUN",
            "destination_id": row["run_id"],
            "step": 0,
        }
    )
    tags = unpacked(row["extra"])
    if row["context"] is not None:
        tags[CONTEXT] = row["context"]
    new["input_tags"] += [
        {"input_uuid": edge, "name": tag, "value": value} for tag, value in tags.items()
    ]
