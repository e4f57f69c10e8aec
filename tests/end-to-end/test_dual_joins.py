"""Runs that were dual-written name each other, and bulk migrations find them and double nothing."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from dual_logging import Training
from mlflow.tracking import MlflowClient
from wandb_server import Server

import trackbridge
from trackbridge.dual.parity import Parity, parity
from trackbridge.dual.replay import replay
from trackbridge_adapters.wandb.service.ledger import HIDDEN

pytestmark = pytest.mark.skipif(os.name != "posix", reason="forwarders end by signals of POSIX")
PROJECT, RUNS = "joins", 3
TRAIN = """
import sys, time, trackbridge
for seed in range(3):
    with trackbridge.start("joins", f"run {seed}", {"seed": seed}, to=sys.argv[1:]) as run:
        if seed == 0:
            run.alert("title", "text", "WARN")
        for i in range(50):
            run.log({"loss": 1.0 / (i + 1), "text": f"call {i}"})
            time.sleep(0.1 if seed == 0 else 0)
        run.summary["best"] = seed / 7
"""


def in_mlflow(address: str) -> dict[str, tuple[str, list[Any]]]:
    """Id of each run by its name, and its twins."""
    client = MlflowClient(address)
    experiment = client.get_experiment_by_name(PROJECT)
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == RUNS
    return {
        run.info.run_name: (run.info.run_id, json.loads(run.data.tags["trackbridge.twins"]))
        for run in runs
    }


def in_wandb(server: Server) -> dict[str, tuple[str, list[Any]]]:
    every = server.state.projects[server.user.name, PROJECT].runs.values()
    runs = [run for run in every if run.name != HIDDEN]  # which keeps what is of no run
    assert len(runs) == RUNS
    return {
        run.display_name: (run.name, run.config["trackbridge"]["value"]["twins"]) for run in runs
    }


def shown(trained: Training) -> list[Parity]:
    """What parity says of the run with an alert."""
    found = parity([trained.journals])
    return [each for each in found if each.info.name == "run 0"]


def test_dual_written_runs_name_each_other_and_are_found_by_bulk_migrations(
    trained: Training, mlflow: str, wandb: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    there, elsewhere = f"mlflow:{mlflow}", f"wandb:{wandb.user.name}/{PROJECT}"
    trained.run(TRAIN, there, elsewhere)
    trained.wait("done")
    wait_for_links(trained)
    native, other = in_mlflow(mlflow), in_wandb(wandb)
    slow = wandb.run(f"{wandb.user.name}/{PROJECT}/{other['run 0'][0]}")
    own = {"title": "title", "text": "text", "severity": "WARN", "waitDuration": 60000}
    assert [dict(alert, **own) for alert in slow.alerts] == slow.alerts and len(slow.alerts) == 1
    losses = {each.store: {loss.kind for loss in each.losses} for each in shown(trained)}
    assert "alerts not shown" not in losses[elsewhere], "it was raised there"
    experiment = MlflowClient(mlflow).get_experiment_by_name(PROJECT).experiment_id
    for name, (run_id, twins) in native.items():
        assert twins == [
            {
                "store": f"wandb:{wandb.address}/{wandb.user.name}/{PROJECT}",
                "project": f"{wandb.user.name}/{PROJECT}",
                "run_id": other[name][0],
                "url": f"{wandb.address}/{wandb.user.name}/{PROJECT}/runs/{other[name][0]}",
            }
        ]
        page = f"{mlflow}/#/experiments/{experiment}/runs/{run_id}"
        twin = {"store": there, "project": PROJECT, "run_id": run_id, "url": page}
        assert other[name][1] == [twin]
    for each in trained.status():
        told = native if each.store == there else other
        assert each.run_id == told[each.name][0]
        assert each.url is not None and each.url.endswith(f"/runs/{each.run_id}")
    for receipts in ("here", "elsewhere"):
        monkeypatch.setenv("TRACKBRIDGE_STATE", str(tmp_path / receipts))
        for source, target in ((elsewhere, there), (there, elsewhere)):
            for _ in range(2):  # the first one compares what no receipt is there of
                report = trackbridge.migrate(source, target)
                assert report.verified, report.failures
                assert (report.copied, report.updated, report.skipped) == (0, 0, RUNS)
            assert trackbridge.verify(source, target).holds
    assert (in_mlflow(mlflow), in_wandb(wandb)) == (native, other)
    assert {each.what for each in replay([trained.journals])} == {"skipped"}


def wait_for_links(trained: Training) -> None:
    """Until each back end has been told of the other, or for a while."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        files = [*trained.journals.glob("run-*/delivery/*.json")]
        told = [json.loads(path.read_text()) for path in files]
        if len(told) == 2 * RUNS and all(len(each["linked"] or ()) == 1 for each in told):
            return
        time.sleep(0.2)
