"""MLflow's file stores keep the contract, as sources and as targets.

The other side is MLflow's own client.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from unit.mlflow_store.test_contract import plain_points, seeded

from trackbridge.adapter import ORIGIN, RunRef
from trackbridge.testing import AdapterContract, PlainRun
from trackbridge_adapters.mlflow import ADAPTER


class TestFileStore(AdapterContract):
    adapter = ADAPTER

    def location(self, folder: Path) -> str:
        return str(folder / "mlruns")

    def seed(self, location: str, runs: Sequence[PlainRun]) -> Sequence[PlainRun]:
        with allowed() as patch:
            patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
            return seeded(MlflowClient(location), runs)

    def peek(self, location: str, run: RunRef) -> PlainRun:
        with allowed() as patch:
            patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
            return peeked(MlflowClient(location), run)


allowed = pytest.MonkeyPatch.context


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
        plain_points(client, run),
        {path: data for path, data in files.items() if not path.startswith(f"{ORIGIN}/")},
    )
