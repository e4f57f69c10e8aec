"""What a server has beside runs and models is counted and named before anything is moved."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from click.testing import CliRunner
from mlflow.tracking import MlflowClient

from trackbridge.adapter import Query
from trackbridge.cli import main
from trackbridge_adapters.mlflow.rest import RestReader
from trackbridge_adapters.mlflow.rest_server import Server


def filled(address: str) -> tuple[str, str]:
    """Two experiments: one with scorers and an issue, both with one dataset."""
    server, mark = Server(address), uuid.uuid4().hex[:8]
    client = MlflowClient(address)
    names = f"left {mark}", f"also {mark}"
    numbers = [client.create_experiment(name) for name in names]
    client.create_run(numbers[0])
    body = {"name": f"dataset {mark}", "experiment_ids": numbers}
    server.post("/api/3.0/mlflow/datasets/create", body)
    for name in ("polite", "short"):
        body = {"experiment_id": numbers[0], "name": name, "serialized_scorer": "{}"}
        server.post("/api/3.0/mlflow/scorers/register", body)
    body = {"experiment_id": numbers[0], "name": "slow", "description": "too slow"}
    server.post("/api/3.0/mlflow/issues", body)
    return names


def test_datasets_scorers_and_issues_are_counted_once_with_their_experiment(proxied: str) -> None:
    first, second = filled(proxied)
    query = Query(projects=[first, second])
    rows = {
        row["project"]: row
        for batch in RestReader(proxied).read_shared(query)
        if batch.table == "projects"
        for row in batch.data.to_pylist()
    }
    counted = json.loads(rows[first]["extra"])["not_read"]
    assert counted == {"evaluation datasets": 1, "scorers": 2, "issues": 1}
    assert "not_read" not in (rows[second]["extra"] or "")


def test_the_forecast_names_what_stays_behind(proxied: str, tmp_path: Path) -> None:
    first, _ = filled(proxied)
    target = f"archive:{tmp_path / 'archive'}"
    command = ["plan", f"mlflow:{proxied}", target, "--project", first, "--json"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    losses = json.loads(result.stdout)["losses"]
    named = {loss["kind"]: loss["count"] for loss in losses}
    assert named["scorers not moved"] == 2
    assert named["evaluation datasets not moved"] == 1
