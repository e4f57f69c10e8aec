"""The REST lane keeps the contract; the other side is MLflow's own client.

Each store of a test is a workspace of one server.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import mlflow_servers
import pytest
from mlflow.artifacts import download_artifacts
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from mlflow.utils.workspace_context import WorkspaceContext
from unit.mlflow_store.test_contract import listed, plain_points, seeded

from trackbridge.adapter import ORIGIN, RunKey, RunRef
from trackbridge.testing import AdapterContract, PlainRun
from trackbridge_adapters.mlflow import ADAPTER
from trackbridge_adapters.mlflow.rest_write import RestWriter


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    with mlflow_servers.server(folder, *mlflow_servers.proxied(folder)) as found:
        yield found


class TestRest(AdapterContract):
    adapter = ADAPTER
    address: str

    @pytest.fixture(autouse=True)
    def _server(self, address: str) -> None:
        type(self).address = address

    def location(self, folder: Path) -> str:
        mark = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
        return f"{self.address}?workspace=w-{mark}"

    def seed(self, location: str, runs: Sequence[PlainRun]) -> Sequence[PlainRun]:
        uri, _, workspace = location.partition("?workspace=")
        client = MlflowClient(uri)
        client.create_workspace(workspace)
        with WorkspaceContext(workspace):
            return seeded(client, runs)

    def peek(self, location: str, run: RunRef) -> PlainRun:
        uri, _, workspace = location.partition("?workspace=")
        with WorkspaceContext(workspace):
            return peeked(MlflowClient(uri), run, RestWriter(location))


def peeked(client: MlflowClient, ref: RunRef, writer: RestWriter) -> PlainRun:
    """A run as MLflow's client shows it; those that were brought are found by their key."""
    run = found(client, ref, writer)
    run_id = run.info.run_id
    files = {}
    with tempfile.TemporaryDirectory() as folder:
        for path in listed(client, run_id, None):
            if not path.startswith(f"{ORIGIN}/"):
                place = download_artifacts(
                    run_id=run_id,
                    artifact_path=path,
                    dst_path=folder,
                    tracking_uri=client.tracking_uri,
                )
                files[path] = Path(place).read_bytes()
    return PlainRun(
        client.get_experiment(run.info.experiment_id).name,
        ref.run_id,
        run.info.run_name,
        run.data.params,
        plain_points(client, run),
        files,
    )


def found(client: MlflowClient, ref: RunRef, writer: RestWriter) -> Run:
    numbers = [experiment.experiment_id for experiment in client.search_experiments()]
    for run in client.search_runs(numbers, run_view_type=3):
        key = run.data.tags.get("trackbridge.run_key")
        if run.info.run_id == ref.run_id or (key and writer.target(RunKey.parse(key)) == ref):
            return run
    raise LookupError(ref)
