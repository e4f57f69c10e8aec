"""The SQLite adapter keeps the contract; the other side is MLflow's own client."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from mlflow.entities import Metric, Param, Run
from mlflow.tracking import MlflowClient

from trackbridge.adapter import ORIGIN, RunRef
from trackbridge.testing import AdapterContract, PlainPoint, PlainRun
from trackbridge_adapters.mlflow import ADAPTER, empty


class TestSqlite(AdapterContract):
    adapter = ADAPTER

    def location(self, folder: Path) -> str:
        return str(folder / "store.db")

    def seed(self, location: str, runs: Sequence[PlainRun]) -> Sequence[PlainRun]:
        empty.create(Path(location), str(Path(location).parent / "mlruns"))
        return seeded(MlflowClient(f"sqlite:///{location}"), runs)

    def peek(self, location: str, run: RunRef) -> PlainRun:
        return peeked(MlflowClient(f"sqlite:///{location}"), run)


def seeded(client: MlflowClient, runs: Sequence[PlainRun]) -> Sequence[PlainRun]:
    """The runs, written with MLflow's client, under the ids that it gave them."""
    return [_seeded(client, run) for run in runs]


def _seeded(client: MlflowClient, run: PlainRun) -> PlainRun:
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


def plain_points(client: MlflowClient, run: Run) -> list[PlainPoint]:
    """The whole histories of a run's metrics."""
    return [
        PlainPoint(key, point.step, moment(point.timestamp), point.value)
        for key in run.data.metrics
        for point in client.get_metric_history(run.info.run_id, key)
    ]


def peeked(client: MlflowClient, ref: RunRef) -> PlainRun:
    """A run as MLflow's client shows it."""
    run = client.get_run(ref.run_id)
    folder = Path(run.info.artifact_uri.removeprefix("file://"))
    return PlainRun(
        client.get_experiment(run.info.experiment_id).name,
        run.info.run_id,
        run.info.run_name,
        run.data.params,
        plain_points(client, run),
        {
            path: (folder / path).read_bytes()
            for path in listed(client, ref.run_id, None)
            if not path.startswith(f"{ORIGIN}/")
        },
    )


def listed(client: MlflowClient, run_id: str, folder: str | None) -> list[str]:
    """Paths of a run's files as MLflow's client lists them."""
    found = []
    for entry in client.list_artifacts(run_id, folder):
        found += listed(client, run_id, entry.path) if entry.is_dir else [entry.path]
    return found


def moment(milliseconds: int) -> datetime:
    """A time as MLflow's client gives it."""
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc)
