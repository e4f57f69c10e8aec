"""A program that logs with MLflow is seen in W&B while it trains, without a change to its code."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from dual_logging import ROOT, Training, training
from waiting import until
from wandb_server import Server, started

import trackbridge

pytest.importorskip("wandb")

PROGRAM = """
import sys, mlflow
mlflow.set_tracking_uri(sys.argv[1])
mlflow.set_experiment("steps")
with mlflow.start_run(run_name="a run"):
    mlflow.log_params({"lr": 0.1, "depth": 3})
    for epoch in range(3):
        for step in range(10 * epoch, 10 * epoch + 10):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
        mlflow.log_metrics({"val/loss": 1 / (epoch + 1), "val/acc": epoch / 3}, step=step)
        print("trained", flush=True)
        input()
    if "final" in sys.argv:
        mlflow.log_metric("test accuracy", 0.9)
        print("tested", flush=True)
        input()
        mlflow.log_metric("loss", 0.01, step=step + 1)
        mlflow.log_metric("loss", 0.01, step=step + 2)
        print("went on", flush=True)
        input()
"""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with started(tmp_path / "server") as found:
        monkeypatch.setenv("WANDB_BASE_URL", found.address)
        monkeypatch.setenv("WANDB_API_KEY", found.user.key)
        yield found


@pytest.fixture
def trained(tmp_path: Path, server: Server) -> Iterator[Training]:
    paths = os.pathsep.join([str(ROOT / "bridge"), str(ROOT / "adapters")])
    with training(tmp_path / "work", TRACKBRIDGE_PATIENCE="300", PYTHONPATH=paths) as found:
        yield found
