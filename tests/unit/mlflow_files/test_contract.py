"""MLflow's file stores keep the contract, as sources and as targets.

The other side is MLflow's own client.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest
from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

from trackbridge.adapter import ORIGIN, RunRef
from trackbridge.testing import AdapterContract, PlainPoint, PlainRun
from trackbridge_adapters.mlflow import ADAPTER


class TestFileStore(AdapterContract):
    adapter = ADAPTER

    def location(self, folder: Path) -> str:
        return str(folder / "mlruns")

    def seed(self, location: str, runs: Sequence[PlainRun]) -> Sequence[PlainRun]:
        with allowed() as patch:
            patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
            return [seeded(MlflowClient(location), run) for run in runs]

    def peek(self, location: str, run: RunRef) -> PlainRun:
        with allowed() as patch:
            patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
            return peeked(MlflowClient(location), run)


allowed = pytest.MonkeyPatch.context


def seeded(client: MlflowClient, run: PlainRun) -> PlainRun:
    """A run, written with MLflow's client, under the id that it gave it."""
    experiment = client.get_experiment_by_name(run.project)
    number = experiment.experiment_id if experiment else client.create_experiment(run.project)
    run_id = client.create_run(number, run_name=run.name).info.run_id
    client.log_batch(
        run_id,
        [Metric(p.key, p.value, round(p.time.timestamp() * 1000), p.step) for p in run.points],
        [Param(key, value) for key, value in run.params.items()],
    )
    for path, content in run.files.items():
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, Path(path).name)
            file.write_bytes(content)
            parent = str(Path(path).parent)
            client.log_artifact(run_id, str(file), None if parent == "." else parent)
    client.set_terminated(run_id)
    return replace(run, run_id=run_id)


def peeked(client: MlflowClient, ref: RunRef) -> PlainRun:
    """A run as MLflow's client shows it."""
    run = client.get_run(ref.run_id)
    folder = client.download_artifacts(ref.run_id, "", tempfile.mkdtemp())
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file()
    }
    return PlainRun(
        client.get_experiment(run.info.experiment_id).name,
        run.info.run_id,
        run.info.run_name,
        run.data.params,
        [
            PlainPoint(key, point.step, _moment(point.timestamp), point.value)
            for key in run.data.metrics
            for point in client.get_metric_history(ref.run_id, key)
        ],
        {path: data for path, data in files.items() if not path.startswith(f"{ORIGIN}/")},
    )


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc)
