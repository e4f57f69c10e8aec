"""Models that were brought to a server are loaded from there, and runs on it go on."""

from __future__ import annotations

from pathlib import Path

import mlflow
import pytest
from mlflow.entities import Metric
from mlflow.tracking import MlflowClient

import trackbridge
from trackbridge_adapters.mlflow.entities import KEY_TAG

sklearn = pytest.importorskip("sklearn.linear_model")
INPUTS = [[1.0], [2.5], [-3.0]]


def trained(folder: Path) -> tuple[str, str, list[float]]:
    """A database with a run that has a logged model; its address, the run, the predictions."""
    uri = f"sqlite:///{folder / 'source.db'}"
    client = MlflowClient(uri)
    place = (folder / "files").as_uri()
    number = client.create_experiment(f"models {folder.name}", artifact_location=place)
    model = sklearn.LinearRegression().fit([[0.0], [1.0], [2.0]], [1.0, 3.5, 6.0])
    mlflow.set_tracking_uri(uri)
    try:
        with mlflow.start_run(experiment_id=number) as run:
            mlflow.sklearn.log_model(model, name="line", registered_model_name=folder.name)
            with (folder / "own").open("w"):
                pass
            mlflow.sklearn.save_model(model, folder / "saved")
            mlflow.log_artifacts(str(folder / "saved"), "saved")
            mlflow.log_metric("loss", 0.5, step=1)
    finally:
        mlflow.set_tracking_uri(None)
    return uri, run.info.run_id, model.predict(INPUTS).tolist()


def loaded(address: str, uri: str) -> list[float]:
    mlflow.set_tracking_uri(address)
    try:
        found: list[float] = mlflow.sklearn.load_model(uri).predict(INPUTS).tolist()
    finally:
        mlflow.set_tracking_uri(None)
    return found


@pytest.mark.parametrize("kind", ["proxied", "direct"])
def test_a_model_predicts_as_before_and_its_run_takes_more_points(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    address: str = request.getfixturevalue(kind)
    source, born, expected = trained(tmp_path)
    report = trackbridge.migrate(f"mlflow:{source}", f"mlflow:{address}")
    assert report.verified, report.failures
    client = MlflowClient(address)
    numbers = [e.experiment_id for e in client.search_experiments()]
    (run,) = (
        run for run in client.search_runs(numbers) if run.data.tags.get(KEY_TAG, "").endswith(born)
    )
    (model,) = client.search_logged_models(
        [run.info.experiment_id], f"source_run_id = '{run.info.run_id}'"
    )
    for uri in (
        f"models:/{model.model_id}",
        f"models:/{tmp_path.name}/1",
        f"runs:/{run.info.run_id}/saved",
        f"runs:/{run.info.run_id}/line",
    ):
        assert loaded(address, uri) == expected, uri

    client.log_metric(run.info.run_id, "loss", 0.25, step=2)
    client.log_batch(run.info.run_id, metrics=[Metric("loss", 0.125, 3, 3)])
    history = client.get_metric_history(run.info.run_id, "loss")
    assert sorted((p.step, p.value) for p in history) == [(1, 0.5), (2, 0.25), (3, 0.125)]
