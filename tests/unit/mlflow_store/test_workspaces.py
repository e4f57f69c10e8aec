"""Workspaces of MLflow's other than the default one stay what they were."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from trackbridge.adapter import Query
from trackbridge.comparison import verify
from trackbridge.engine import migrate
from trackbridge.forecast import forecast
from trackbridge_adapters.mlflow import ADAPTER

MAKE = """
import os, sys, json
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
client = mlflow.MlflowClient()
client.create_workspace("team", "a team")
for name in ("default", "team"):
    mlflow.set_workspace(name)
    where = client.create_experiment("demo")
    client.set_experiment_tag(where, "of", name)
    run = client.create_run(where).info.run_id
    client.log_metric(run, "loss", len(name))
    client.create_registered_model("model", tags={"of": name})
    for number in range(1 + (name == "team")):
        client.create_model_version("model", "/elsewhere", run, tags={"of": name})
    client.set_registered_model_alias("model", "champion", number + 1)
"""
SHOW = """
import json, sys
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
client = mlflow.MlflowClient()
found = {}
for name in ("default", "team"):
    mlflow.set_workspace(name)
    (where,) = client.search_experiments(filter_string="name = 'demo'")
    runs = client.search_runs([where.experiment_id])
    (model,) = client.search_registered_models()
    versions = client.search_model_versions("name = 'model'")
    found[name] = [
        where.tags, [run.data.metrics for run in runs], model.tags, model.aliases,
        sorted([v.version, v.tags, v.run_id] for v in versions),
    ]
print(json.dumps(found))
"""


def run(script: str, database: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, f"sqlite:///{database}"],
        env={**os.environ, "MLFLOW_ENABLE_WORKSPACES": "true"},
        cwd=database.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.fixture
def source(tmp_path: Path) -> Path:
    database = tmp_path / "source" / "mlflow.db"
    database.parent.mkdir()
    run(MAKE, database)
    return database


@pytest.mark.parametrize("by_archive", [False, True], ids=["directly", "by an archive"])
def test_experiments_and_models_of_one_name_in_two_workspaces_stay_apart(
    source: Path, tmp_path: Path, by_archive: bool
) -> None:
    here, target = str(source), tmp_path / "target" / "mlflow.db"
    if by_archive:
        here = f"archive:{tmp_path}/archive"
        assert migrate(str(source), here).verified
    assert migrate(here, str(target)).verified
    assert verify(here, str(target)).holds
    found: dict[str, Any] = json.loads(run(SHOW, target))
    assert found == json.loads(run(SHOW, source))
    assert found["team"][0] == {"of": "team"}
    again = migrate(here, str(target))
    assert (again.skipped, again.copied) == (2, 0)


def test_where_there_are_no_workspaces_their_names_are_behind_those_of_what_is_in_them(
    source: Path,
) -> None:
    reader = ADAPTER.reader(str(source), {})
    projects = {info.ref.project for info in reader.list_runs(Query())}
    assert projects == {"demo", "demo (team)"}
    models = [
        row["name"]
        for batch in reader.read_shared(Query())
        for row in batch.data.to_pylist()
        if batch.table == "models"
    ]
    assert sorted(models) == ["model", "model (team)"]


def test_settings_of_a_workspace_are_named_as_not_moved(source: Path, tmp_path: Path) -> None:
    losses = {i.kind: i.count for i in forecast(str(source), str(tmp_path / "a.db")).losses}
    assert losses["settings of workspaces not moved"] == 1
    with closing(sqlite3.connect(source)) as database, database:
        database.execute("UPDATE workspaces SET description = NULL")
    losses = {i.kind: i.count for i in forecast(str(source), str(tmp_path / "a.db")).losses}
    assert not any("workspaces" in kind for kind in losses)
