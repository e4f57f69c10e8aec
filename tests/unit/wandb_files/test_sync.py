"""The real `wandb sync` takes what we write and sends all of it."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import wandb_server
from unit.wandb_files.stores import FIXTURES, expected_runs, open_store, read, refs
from wandb_server import Server, client
from wandb_server.artifacts import entries, place

from trackbridge.adapter import Query, RunKey
from trackbridge.testing import samples
from trackbridge.testing.made import MadeRun, store
from trackbridge.transfer import move
from trackbridge_adapters.wandb import ADAPTER

wandb = pytest.importorskip("wandb")


class Received:
    """What a server has of the one run that was synced to it."""

    def __init__(self, server: Server) -> None:
        [run] = (run for each in server.state.projects.values() for run in each.runs.values())
        self.run, self.exit_code = run, run.exit_code
        self.operations: dict[str, list[Any]] = defaultdict(list)
        for request in server.faults.requests:
            self.operations[request.operation].append(request.variables)
        self.files = {
            path
            for artifact in server.state.artifacts.values()
            for path, entry in entries(server.state, artifact).items()
            if "ref" not in entry and server.state.storage.has(place(artifact, entry["digest"]))
        }
        """Paths in artifacts whose bytes have arrived."""

    def history(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.run.history]

    def system(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.run.events]


def sync(folder: Path, home: Path) -> Received:
    """Runs `wandb sync` on a run folder against a server of our own."""
    with wandb_server.started(home) as server:
        server.add_entity("example")
        assert "Finished syncing" in client.sync(server, folder)
        return Received(server)


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
    assert received.run.summary["best"] == {"loss": 0.25, "step": 1000}


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
    assert received.files == {path for artifact in given for path in artifact["files"]}
    assert sorted(written.glob("artifacts/staging/*/*")) == staged


def test_a_failed_run_and_its_console_and_alerts_arrive(written: Path, tmp_path: Path) -> None:
    [failed] = written.glob("*-failed01")
    assert sync(failed, tmp_path / "home").exit_code == 1
    [console] = written.glob("*-console01")
    received = sync(console, tmp_path / "home")
    assert any("plain line" in line for line in received.run.console.values())
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
    assert received.run.summary.keys() >= keys
    artifact = f"run-{run.key.run_id}-mlflow-artifacts"
    assert artifact in {
        call["input"]["artifactCollectionName"] for call in received.operations["CreateArtifact"]
    }
