"""What MLflow's own client answers about a rich store, told by names, since ids may differ."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import mlflow
import rich_store
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from mlflow.tracking._tracking_service import utils

ORDERED = [
    ("", ["attributes.start_time ASC"]),
    ("", ["metrics.loss DESC", "attributes.start_time ASC"]),
    ("", ["params.lr ASC", "tags.team DESC", "attributes.start_time DESC"]),
    ("", ["metrics.`best acc` ASC", "attributes.start_time ASC"]),
    ("metrics.loss < 0.04", ["metrics.loss ASC"]),
    ("metrics.loss <= 0.1 and tags.team = 'team 1'", ["metrics.loss DESC"]),
    ("metrics.`best acc` > 0.05 and tags.team LIKE 'team%'", ["attributes.run_name DESC"]),
    ("metrics.`odd values` > 0", ["attributes.start_time ASC"]),
    ("params.`optimizer / größe` = 'adam'", ["params.lr DESC"]),
    ("attributes.status != 'FINISHED'", ["attributes.start_time ASC"]),
    ("attributes.user_id = 'alice'", ["attributes.end_time ASC"]),
    ("datasets.name = 'training data'", ["attributes.start_time ASC"]),
    ("tags.`mlflow.note.content` ILIKE '%NOTE%'", []),
]
"""Searches: an expression, and an order that leaves no two runs in any order."""


def asked(uri: str) -> MlflowClient:
    """A client that knows nothing of the stores that were asked before."""
    # MLflow remembers by the id of a run where its files lie (client.py, 3.17)
    utils._artifact_repos_cache.clear()
    return MlflowClient(uri, uri)


def answers(client: MlflowClient) -> dict[str, Any]:
    """Experiments, runs, searches and the registry."""
    found = client.search_experiments(view_type=3)
    experiments = [e for e in found if e.name != "trackbridge-store"]
    names = {experiment.experiment_id: experiment.name for experiment in experiments}
    runs = client.search_runs(list(names), run_view_type=3)
    called = {run.info.run_id: run.info.run_name for run in runs}
    return {
        "experiments": {e.name: (own(e.tags), e.lifecycle_stage) for e in experiments},
        "runs": {run.info.run_name: _run(client, run, names, called) for run in runs},
        "searches": [
            [run.info.run_name for run in client.search_runs(list(names), query, 1, order_by=order)]
            for query, order in ORDERED
        ],
        "registry": _registry(client, called),
    }


def own(tags: dict[str, str]) -> dict[str, str]:
    """Tags without Trackbridge's."""
    return {name: value for name, value in tags.items() if not name.startswith("trackbridge.")}


def _run(
    client: MlflowClient, run: Run, experiments: dict[str, str], called: dict[str, str]
) -> dict[str, Any]:
    info, tags = run.info, own(run.data.tags)
    parent = tags.pop("mlflow.parentRunId", None)
    if tags.get("mlflow.user") == info.user_id:  # beside the column, where there was no such tag
        del tags["mlflow.user"]
    return {
        "experiment": experiments[info.experiment_id],
        "info": (info.status, info.start_time, info.end_time, info.user_id, info.lifecycle_stage),
        "parent": parent and called[parent],
        "params": run.data.params,
        "tags": tags,
        "latest": {key: str(value) for key, value in run.data.metrics.items()},
        "history": {key: _history(client, info.run_id, key) for key in run.data.metrics},
        "inputs": sorted(
            (
                (
                    tuple(entry.dataset.to_dictionary().values()),
                    sorted((tag.key, tag.value) for tag in entry.tags),
                )
                for entry in run.inputs.dataset_inputs
            ),
            key=str,
        ),
        "artifacts": sorted(_artifacts(client, info.run_id)),
    }


def _history(client: MlflowClient, run_id: str, key: str) -> list[tuple[str, int, int]]:
    points = client.get_metric_history(run_id, key)
    return [(str(point.value), point.timestamp, point.step) for point in points]


def _artifacts(client: MlflowClient, run_id: str, folder: str | None = None) -> Iterator[str]:
    for entry in client.list_artifacts(run_id, folder):
        if entry.is_dir:
            yield from _artifacts(client, run_id, entry.path)
        elif not entry.path.startswith("trackbridge/"):
            yield f"{entry.path} {entry.file_size}"


def _registry(client: MlflowClient, called: dict[str, str]) -> dict[str, Any]:
    found = {}
    for model in client.search_registered_models():
        versions = client.search_model_versions(f"name = '{model.name}'")
        found[model.name] = (
            own(model.tags),
            model.description,
            {alias: str(number) for alias, number in model.aliases.items()},
            [
                (
                    str(version.version),
                    version.current_stage,
                    version.status,
                    version.description or None,  # over REST there is always one
                    called.get(version.run_id, version.run_id),
                    sorted(client.get_model_version(model.name, version.version).aliases),
                    own(version.tags),
                )
                for version in sorted(versions, key=lambda version: int(version.version))
            ],
        )
    return found


def model(uri: str) -> dict[str, Any]:
    """The logged model, and what it predicts, loaded by its aliases, its version, its own id."""
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    client = asked(uri)
    try:
        experiment = client.get_experiment_by_name(rich_store.MAIN)
        (logged,) = client.search_logged_models([experiment.experiment_id])
        name = rich_store.MODEL
        addresses = [f"{name}@champion", f"{name}@größe", f"{name}/1", logged.model_id]
        models = [mlflow.sklearn.load_model(f"models:/{address}") for address in addresses]
        return {
            "params": logged.params,
            "tags": own(logged.tags),
            "status": (logged.name, logged.model_type or None, str(logged.status)),
            "metrics": sorted((m.key, m.value, m.step, m.timestamp) for m in logged.metrics),
            "predicted": [model.predict_proba(rich_store.QUESTIONS).tolist() for model in models],
        }
    finally:
        mlflow.set_tracking_uri(None)
        mlflow.set_registry_uri(None)
        os.environ.pop("MLFLOW_REGISTRY_URI", None)  # it stays otherwise, and is asked


def items(client: MlflowClient) -> dict[str, Any]:
    """Traces with all that is in them, and datasets with their records."""
    where = [e.experiment_id for e in client.search_experiments()]
    found = {}
    for trace in client.search_traces(locations=where):
        found[trace.info.trace_id] = client.get_trace(trace.info.trace_id).to_dict()
        info = found[trace.info.trace_id]["info"]
        info["tags"].pop("mlflow.artifactLocation")
        where_it_is = info["trace_location"]["mlflow_experiment"]
        number = where_it_is.pop("experiment_id")  # which a target may give anew
        where_it_is["name"] = client.get_experiment(number).name
    datasets = {
        data.name: (data.tags, data.schema, data.profile, [r.to_dict() for r in data.records])
        for data in client.search_datasets()
    }
    return {"traces": found, "datasets": datasets}


def log_into(client: MlflowClient) -> None:
    """Goes on with a migrated run, and begins a new one and a new version beside it."""
    experiment = client.get_experiment_by_name(rich_store.MAIN).experiment_id
    (run,) = client.search_runs([experiment], "attributes.run_name = 'run 1'")
    client.log_metric(run.info.run_id, "loss", 7.5, step=1000)
    client.log_metric(run.info.run_id, "new", 1.0)
    client.log_param(run.info.run_id, "new", "param")
    client.set_tag(run.info.run_id, "new", "tag")
    client.log_text(run.info.run_id, "new", "new/file.txt")
    client.set_terminated(run.info.run_id)
    after = client.get_run(run.info.run_id)
    assert after.data.metrics["loss"] == 7.5
    assert after.data.params["new"] == "param"
    assert after.data.tags["new"] == "tag"
    assert len(client.get_metric_history(run.info.run_id, "loss")) == 21
    files = [entry.path for entry in client.list_artifacts(run.info.run_id, "new")]
    assert files == ["new/file.txt"], files
    fresh = client.create_run(client.create_experiment("new")).info
    client.log_metric(fresh.run_id, "loss", 1.0)
    version = client.create_model_version(rich_store.MODEL, fresh.artifact_uri, fresh.run_id)
    assert int(version.version) == 3, version
