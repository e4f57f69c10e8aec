"""The real `wandb sync` takes what we write and sends all of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from unit.wandb_files.server import Received, Server
from unit.wandb_files.stores import FIXTURES, expected_runs, open_store, read, refs

from trackbridge.adapter import Query, RunKey
from trackbridge.testing import samples
from trackbridge.testing.made import MadeRun, store
from trackbridge.transfer import move
from trackbridge_adapters.wandb import ADAPTER

wandb = pytest.importorskip("wandb")


def sync(folder: Path, home: Path) -> Received:
    """Runs `wandb sync` on a run folder against a server of our own."""
    home.mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    with Server() as server:
        settings = {
            "HOME": str(home),
            "WANDB_BASE_URL": server.base,
            "WANDB_API_KEY": "0" * 40,
            "WANDB_ERROR_REPORTING": "false",
            "DO_NOT_TRACK": "true",
        }
        command = [sys.executable, "-m", "wandb", "sync", str(folder)]
        done = subprocess.run(
            command, env={**kept, **settings}, cwd=home, capture_output=True, text=True, timeout=90
        )
        assert done.returncode == 0, done.stderr
        assert "Finished syncing" in done.stdout + done.stderr
        return server.received


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What was read from the newest fixture, written again."""
    place = tmp_path_factory.mktemp("written") / "wandb"
    source = open_store(FIXTURES / "wandb-0.31")
    assert not move(
        source, ADAPTER.writer(str(place), {}), list(source.list_runs(Query()))
    ).failures
    return place


def expected(part: str) -> dict[str, Any]:
    return expected_runs(FIXTURES / "wandb-0.31")[part]


def test_history_arrives_row_by_row(written: Path, tmp_path: Path) -> None:
    [folder] = written.glob("*-history01")
    received = sync(folder, tmp_path / "home")
    rows: dict[int, dict[str, Any]] = {}
    for step, key, value in expected("history")["rows"]:
        rows.setdefault(step, {})[key] = value
    found = {row["_step"]: row for row in received.history()}
    assert set(found) == set(rows)
    assert found[2]["nested"] == rows[2]["nested"]
    assert found[3]["a.b"] == 3
    assert found[1000]["list"] == [1, 2, 3]
    assert received.operations["UpsertBucket"][0]["name"] == "history01"
    assert received.operations["UpsertBucket"][0]["entity"] == "example"
    assert received.exit_code == 0
    summary = json.loads(received.lines["wandb-summary.json"][-1])
    assert summary["best"] == {"loss": 0.25, "step": 1000}


def test_config_arrives_with_its_types(written: Path, tmp_path: Path) -> None:
    [folder] = written.glob("*-config01")
    received = sync(folder, tmp_path / "home")
    config = json.loads(received.operations["UpsertBucket"][0]["config"])
    for key, value in expected("config")["config"].items():
        if key == "empty":  # wandb 0.31 loses objects without content
            value.pop("dict")
        assert config[key]["value"] == value
    assert received.operations["UpsertBucket"][0]["tags"] == expected("config")["tags"]


def test_artifacts_arrive_with_their_bytes(written: Path, tmp_path: Path) -> None:
    [folder] = written.glob("*-artifacts01")
    staged = sorted(written.glob("artifacts/staging/*/*"))
    received = sync(folder, tmp_path / "home")
    given = [artifact for artifact in expected("artifacts")["artifacts"] if "id" not in artifact]
    made = received.operations["CreateArtifact"]
    assert {call["input"]["digest"] for call in made} == {artifact["digest"] for artifact in given}
    assert len(received.operations["CommitArtifact"]) == len(given)
    names = {name.split("/", 2)[2] for name in received.uploads if name.startswith("artifact/")}
    assert names == {path for artifact in given for path in artifact["files"]}
    assert sorted(written.glob("artifacts/staging/*/*")) == staged


def test_a_failed_run_and_its_console_and_alerts_arrive(written: Path, tmp_path: Path) -> None:
    [failed] = written.glob("*-failed01")
    assert sync(failed, tmp_path / "home").exit_code == 1
    [console] = written.glob("*-console01")
    received = sync(console, tmp_path / "home")
    assert any("plain line" in line for line in received.lines["output.log"])
    alerts = received.operations["NotifyScriptableRunAlert"]
    assert [alert["title"] for alert in alerts] == [
        a["title"] for a in expected("console")["alerts"]
    ]


def test_system_metrics_arrive(written: Path, tmp_path: Path) -> None:
    [folder] = written.glob("*-stats01")
    rows = sync(folder, tmp_path / "home").system()
    assert len(rows) > 3
    assert any(key.startswith("system.") for key in rows[-1])


def test_a_run_from_elsewhere_arrives_whole(tmp_path: Path) -> None:
    run: MadeRun = samples.everything()
    run.key = RunKey("mlflow", "", "an experiment", "0123456789abcdef0123456789abcdef")
    store(ADAPTER.writer(str(tmp_path / "wandb"), {"entity": "team"}), [run])
    [folder] = tmp_path.glob("wandb/offline-run-*")
    reader = open_store(tmp_path / "wandb")
    [ref] = refs(reader)
    before = read(reader, ref)
    received = sync(folder, tmp_path / "home")
    first = received.operations["UpsertBucket"][0]
    assert list(folder.glob("*.synced"))
    assert str(read(reader, ref)) == str(before)  # NaN is not equal to itself
    assert (first["entity"], first["project"], first["name"]) == (
        "team",
        "an experiment",
        run.key.run_id,
    )
    keys = {row["key"] for row in run.tables["metrics"] if not row.get("system")}
    assert keys <= {key for row in received.history() for key in row}
    assert json.loads(received.lines["wandb-summary.json"][-1]).keys() >= keys
    artifact = f"run-{run.key.run_id}-mlflow-artifacts"
    assert artifact in {
        call["input"]["artifactCollectionName"] for call in received.operations["CreateArtifact"]
    }
