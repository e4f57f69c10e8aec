"""A file store that Trackbridge has filled is one that MLflow itself can work with."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow.entities import Metric, ViewType
from mlflow.tracking import MlflowClient
from sklearn.linear_model import LinearRegression

from trackbridge.engine import migrate
from trackbridge.registry import open_writer

FIXTURES = Path(__file__).parents[3] / "fixtures"
DATABASE = FIXTURES / "mlflow-3.17" / "mlflow.db"


@dataclass(frozen=True)
class Filled:
    """A file store with the runs of MLflow's fixture in it."""

    path: Path
    client: MlflowClient

    @property
    def experiments(self) -> list[str]:
        found = self.client.search_experiments(ViewType.ALL)
        return [experiment.experiment_id for experiment in found]

    def run_id(self, name: str) -> str:
        (run,) = self.client.search_runs(self.experiments, f"attributes.run_name = '{name}'")
        return str(run.info.run_id)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    folder = tmp_path_factory.mktemp("filled")
    path = folder / "mlruns"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACKBRIDGE_STATE", str(folder / "state"))
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        report = migrate(str(DATABASE), f"mlflow:{path}")
        assert report.verified, report.failures
        mlflow.set_tracking_uri(path.as_uri())
        yield Filled(path, MlflowClient(path.as_uri()))
        mlflow.set_tracking_uri(None)


def expected() -> dict[str, dict[str, Any]]:
    document = json.loads((FIXTURES / "mlflow-3.17" / "expected-db.json").read_text())
    runs = document["runs"]
    return {run["info"]["run_id"]: run for run in runs}


def number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def in_order(points: list[list[Any]]) -> list[list[Any]]:
    return sorted(points, key=repr)


@pytest.mark.parametrize("run_id", sorted(expected()))
def test_a_run_is_what_mlflow_says_of_it_in_the_source(filled: Filled, run_id: str) -> None:
    run, source = filled.client.get_run(run_id), expected()[run_id]
    assert run.data.params == source["params"]
    for name in ("run_name", "status", "start_time", "end_time", "user_id", "lifecycle_stage"):
        assert getattr(run.info, name) == source["info"][name], name
    tags = {key: value for key, value in run.data.tags.items() if "trackbridge" not in key}
    assert tags == source["tags"]
    history = {
        key: in_order(
            [
                [number(p.value), p.timestamp, p.step]
                for p in filled.client.get_metric_history(run_id, key)
            ]
        )
        for key in run.data.metrics
    }
    assert history == {key: in_order(points) for key, points in source["metrics"].items()}
    latest = {key: number(value) for key, value in run.data.metrics.items()}
    assert latest == source["latest_metrics"]


def test_experiments_have_their_ids_tags_and_states(filled: Filled) -> None:
    source = {
        experiment["experiment_id"]: experiment
        for experiment in json.loads((FIXTURES / "mlflow-3.17" / "expected-db.json").read_text())[
            "experiments"
        ]
    }
    found = {e.experiment_id: e for e in filled.client.search_experiments(ViewType.ALL)}
    assert found.keys() == source.keys()
    for number_, experiment in found.items():
        assert experiment.name == source[number_]["name"]
        assert experiment.tags == source[number_]["tags"]
        assert experiment.lifecycle_stage == source[number_]["lifecycle_stage"]


@pytest.mark.parametrize(
    "condition",
    [
        "attributes.status = 'FAILED'",
        "metrics.loss < 1",
        "params.factor = '2'",
        "tags.`mlflow.user` = 'alice'",
        "dataset.name = 'frame'",
    ],
)
def test_runs_are_found_and_ordered_as_in_the_source(
    filled: Filled, condition: str, tmp_path: Path
) -> None:
    shutil.copyfile(DATABASE, tmp_path / "mlflow.db")
    source = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    order = ["metrics.loss DESC", "attributes.start_time", "attributes.run_name"]
    found, wanted = (
        [
            run.info.run_id
            for run in client.search_runs(filled.experiments, condition, order_by=order)
        ]
        for client in (filled.client, source)
    )
    assert wanted
    assert found == wanted


def test_datasets_and_models_are_inputs_and_outputs(filled: Filled) -> None:
    run = filled.client.get_run(filled.run_id("datasets"))
    used = {
        data.dataset.name: {tag.key: tag.value for tag in data.tags}
        for data in run.inputs.dataset_inputs
    }
    assert used["held out / größe"] == {"mlflow.data.context": "validation", "split": "größe"}
    models = {m.name: m for m in filled.client.search_logged_models(filled.experiments)}
    assert set(models) == {"model", "checkpoint"}
    assert [(m.key, m.value, m.step) for m in models["checkpoint"].metrics] == [("loss", 0.125, 7)]
    (output,) = filled.client.get_run(filled.run_id("model")).outputs.model_outputs
    assert output.model_id == models["model"].model_id


def test_the_registry_has_its_versions_aliases_and_stages(filled: Filled) -> None:
    client = filled.client
    assert client.get_registered_model("doubler").tags == {"team": "größe", "empty": ""}
    version = client.get_model_version_by_alias("doubler", "champion")
    assert (int(version.version), version.current_stage) == (2, "Production")
    assert version.description == "version 1"
    stages = {
        int(v.version): v.current_stage for v in client.search_model_versions("name='doubler'")
    }
    assert stages == {1: "Archived", 2: "Production", 3: "Staging"}
    assert client.get_model_version_download_uri("doubler", "2").startswith(filled.path.as_uri())
    assert mlflow.genai.load_prompt("prompts:/greeting/2").template == "Good day {{name}}"


def test_a_logged_model_can_be_downloaded_by_its_alias(filled: Filled, tmp_path: Path) -> None:
    path = mlflow.artifacts.download_artifacts(
        artifact_uri="models:/doubler@champion", dst_path=str(tmp_path)
    )
    assert (Path(path) / "MLmodel").is_file()


def test_training_goes_on_in_a_run_that_was_brought(filled: Filled) -> None:
    run_id = filled.run_id("model")
    before = len(filled.client.get_metric_history(run_id, "loss"))
    filled.client.log_batch(run_id, metrics=[Metric("loss", 0.5, 1, 99)])
    filled.client.set_tag(run_id, "later", "yes")
    filled.client.log_text(run_id, "hello", "hello.txt")
    assert len(filled.client.get_metric_history(run_id, "loss")) == before + 1
    assert filled.client.get_run(run_id).data.tags["later"] == "yes"
    assert "hello.txt" in [f.path for f in filled.client.list_artifacts(run_id)]


def test_deleted_runs_and_experiments_can_be_restored(filled: Filled) -> None:
    (experiment,) = filled.client.search_experiments(ViewType.DELETED_ONLY)
    assert experiment.name == "deleted experiment"
    (run,) = filled.client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL)
    filled.client.restore_experiment(experiment.experiment_id)
    assert filled.client.get_run(run.info.run_id).info.lifecycle_stage == "active"
    filled.client.delete_experiment(experiment.experiment_id)


def test_a_new_store_is_what_mlflow_makes_itself(tmp_path: Path) -> None:
    with open_writer(f"mlflow:{tmp_path / 'ours'}").open([]) as sink:
        sink.commit()
    MlflowClient((tmp_path / "theirs").as_uri()).search_registered_models()
    (default,) = MlflowClient((tmp_path / "ours").as_uri()).search_experiments()
    assert (default.experiment_id, default.name) == ("0", "Default")

    def tree(name: str) -> set[str]:
        found = (path.relative_to(tmp_path / name) for path in (tmp_path / name).rglob("*"))
        return {path.as_posix() for path in found if path.name != ".trackbridge.lock"}

    assert tree("ours") == tree("theirs")


def test_a_model_of_scikit_learn_predicts_the_same(tmp_path: Path) -> None:
    source = f"sqlite:///{tmp_path}/mlflow.db"
    mlflow.set_tracking_uri(source)
    mlflow.create_experiment("models", (tmp_path / "artifacts").as_uri())
    mlflow.set_experiment("models")
    inputs = np.arange(12.0).reshape(6, 2)
    model = LinearRegression().fit(inputs, inputs @ [2.0, -1.0])
    with mlflow.start_run():
        mlflow.sklearn.log_model(model, name="line", registered_model_name="line")
    assert migrate(f"mlflow:{source}", f"mlflow:{tmp_path}/mlruns").verified
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    (tmp_path / "artifacts").rename(tmp_path / "gone")
    try:
        loaded = mlflow.sklearn.load_model("models:/line/1")
        assert loaded.predict(inputs).tolist() == model.predict(inputs).tolist()
    finally:
        mlflow.set_tracking_uri(None)


def test_mlflow_can_migrate_it_to_a_database(filled: Filled, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mlflow", "migrate-filestore", "--no-progress"]
    target = f"sqlite:///{tmp_path}/migrated.db"
    done = subprocess.run(
        [*command, "--source", str(filled.path), "--target", target],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    client = MlflowClient(target)
    for run_id, source in expected().items():
        run = client.get_run(run_id)
        assert set(run.data.metrics) >= set(source["metrics"])
        assert run.data.params.keys() == source["params"].keys()


def test_files_that_lie_outside_of_the_store_are_read_though_it_has_an_empty_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = MlflowClient((tmp_path / "mlruns").as_uri())
    number = client.create_experiment("away", (tmp_path / "elsewhere").as_uri())
    run_id = client.create_run(number).info.run_id
    client.log_text(run_id, "hello", "a/note.txt")
    own = tmp_path / "mlruns" / number / run_id / "artifacts"
    assert own.is_dir() and not any(own.iterdir())
    report = migrate(f"mlflow:{tmp_path}/mlruns", f"archive:{tmp_path}/out")
    assert (report.verified, report.files) == (True, 1)
    shutil.rmtree(own)
    assert migrate(f"mlflow:{tmp_path}/mlruns", f"archive:{tmp_path}/again").files == 1
