"""A database that Trackbridge has filled is one that MLflow itself can work with."""

from __future__ import annotations

import json
import math
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import Metric, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from trackbridge.adapter import Query, RunKey, Writer
from trackbridge.engine import migrate
from trackbridge.errors import IntegrityError
from trackbridge.testing import MadeRun
from trackbridge.testing.made import store
from trackbridge_adapters.mlflow import ADAPTER

FIXTURES = Path(__file__).parents[3] / "fixtures"
START = datetime(2026, 3, 1, tzinfo=timezone.utc)
PNG = b"\x89PNG\r\n\x1a\n not really"


@dataclass(frozen=True)
class Filled:
    """A database with MLflow's fixture and a run of another kind in it."""

    path: Path
    client: MlflowClient
    writer: Writer
    made: MadeRun

    @property
    def run_id(self) -> str:
        return self.writer.target(self.made.key).run_id


def made_run() -> MadeRun:
    point = {"time": START, "system": False}
    return MadeRun(
        RunKey("toy", "", "team/vision", "run one"),
        {
            "runs": [
                {
                    "name": "a name",
                    "status": "crashed",
                    "started": START,
                    "ended": datetime(2026, 3, 1, 1, 2, 3, 456_789, tzinfo=timezone.utc),
                    "user": "ann",
                    "notes": "# a note",
                    "group": "g1",
                    "program": "train.py",
                    "git_commit": "c0ffee",
                    "deleted": False,
                }
            ],
            "params": [
                {"key": "a.b", "path": '["a", "b"]', "value": "1", "type": "integer"},
                {"key": "a.b", "path": None, "value": "dot", "type": "string"},
                {"key": "layers", "value": "[64, 32]", "type": "list"},
            ],
            "tags": [{"key": "baseline", "value": None}],
            "summary": [
                {"key": "best", "value": "0.9", "type": "float"},
                {"key": "_runtime", "value": "60", "type": "integer"},
            ],
            "metrics": [
                {**point, "key": "loss", "step": 0, "value": 3.0},
                {**point, "key": "loss", "step": 2, "value": 1.0},
                {**point, "key": "loss", "step": 1, "value": 2.0},
                {**point, "key": "odd", "step": 0, "value": 5.0},
                {**point, "key": "odd", "step": 1, "value": math.nan},
                {**point, "key": "system/own", "step": 0, "value": 1.0},
                {**point, "key": "cpu", "step": 0, "value": 50.0, "system": True},
            ],
            "series": [
                {
                    "key": "sample/image",
                    "step": 4,
                    "time": START,
                    "kind": "image",
                    "value": "{}",
                    "path": "media/images/x.png",
                },
                {"key": "done", "step": 4, "time": START, "kind": "boolean", "value": "true"},
            ],
            "alerts": [{"title": "late", "definition": '{"title": "late"}'}],
            "inputs": [{"name": "corpus", "digest": "d1", "kind": "dataset"}],
        },
        {
            ("", "media/images/x.png"): PNG,
            ("", "notes/a b.txt"): b"text",
            ("weights:v3", "deep/model.bin"): b"\0\1",
        },
    )


@pytest.fixture(scope="module")
def filled(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    folder = tmp_path_factory.mktemp("filled")
    path = folder / "mlflow.db"
    shutil.copyfile(template, path)
    with sqlite3.connect(path) as database:
        query = "UPDATE experiments SET artifact_location = ?"
        database.execute(query, [f"{folder}/mlruns/0"])
    database.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACKBRIDGE_STATE", str(folder / "state"))
        report = migrate(str(FIXTURES / "mlflow-3.17" / "mlflow.db"), f"mlflow:{path}")
    assert report.verified, report.failures
    writer, made = ADAPTER.writer(str(path), {}), made_run()
    store(writer, [made])
    mlflow.set_tracking_uri(f"sqlite:///{path}")
    yield Filled(path, MlflowClient(f"sqlite:///{path}"), writer, made)
    mlflow.set_tracking_uri(None)


def found(filled: Filled, condition: str, order: list[str] | None = None) -> list[str]:
    experiments = [e.experiment_id for e in filled.client.search_experiments()]
    runs = filled.client.search_runs(experiments, condition, order_by=order)
    return [run.info.run_name for run in runs]


@pytest.mark.parametrize(
    "condition",
    [
        "metrics.loss = 1.0",
        "metrics.`summary/best` > 0.8",
        "params.layers = '[64, 32]'",
        "tags.`toy.group` = 'g1'",
        "tags.`toy.tag.baseline` = 'true'",
        "tags.`toy.state` = 'crashed'",
        "attributes.status = 'FAILED' and attributes.run_name = 'a name'",
        "dataset.name = 'corpus'",
    ],
)
def test_runs_are_found_by_what_they_hold(filled: Filled, condition: str) -> None:
    assert found(filled, condition) == ["a name"]


def test_runs_are_ordered_by_their_latest_values(filled: Filled) -> None:
    names = found(filled, "metrics.loss < 2", ["metrics.loss DESC", "attributes.run_name"])
    values = [
        filled.client.search_runs(
            [e.experiment_id for e in filled.client.search_experiments()],
            f"attributes.run_name = '{name}'",
        )[0].data.metrics["loss"]
        for name in names
        if "'" not in name
    ]
    assert len(values) > 3
    assert values == sorted(values, reverse=True)


def test_the_latest_value_is_that_of_the_greatest_step(filled: Filled) -> None:
    metrics = filled.client.get_run(filled.run_id).data.metrics
    assert metrics["loss"] == 1.0
    assert math.isnan(metrics["odd"])
    assert metrics["system/cpu"] == 50.0


def test_latest_values_are_those_that_mlflow_has_for_the_same_points(filled: Filled) -> None:
    """The fixture's own table was filled by MLflow, point by point."""
    columns = "run_uuid, key, value, timestamp, step, is_nan"
    query = f"SELECT {columns} FROM latest_metrics ORDER BY 1, 2"
    source = sqlite3.connect(f"file:{FIXTURES / 'mlflow-3.17' / 'mlflow.db'}?mode=ro", uri=True)
    expected = source.execute(query).fetchall()
    source.close()
    target = sqlite3.connect(filled.path)
    rows = target.execute(query).fetchall()
    target.close()
    runs = {row[0] for row in expected}
    assert [row for row in rows if row[0] in runs] == expected


def test_a_history_has_every_point(filled: Filled) -> None:
    history = filled.client.get_metric_history(filled.run_id, "loss")
    assert sorted((p.step, p.value) for p in history) == [(0, 3.0), (1, 2.0), (2, 1.0)]


def test_a_metric_of_ones_own_is_not_taken_for_one_of_the_system(filled: Filled) -> None:
    names = filled.client.get_run(filled.run_id).data.metrics
    assert [name for name in names if name.startswith("system/")] == ["system/cpu"]
    assert any(name.startswith("_system/own") for name in names)


def test_run_pages_show_what_users_look_for(filled: Filled) -> None:
    run = filled.client.get_run(filled.run_id)
    tags = run.data.tags
    assert run.info.status == "FAILED"
    assert run.info.end_time == 1772326923456
    assert tags["mlflow.note.content"] == "# a note"
    assert tags["mlflow.user"] == "ann"
    assert tags["mlflow.source.name"] == "train.py"
    assert tags["mlflow.source.git.commit"] == "c0ffee"
    assert (tags["toy.run_id"], tags["toy.project"]) == ("run one", "team/vision")
    assert run.data.params["a.b"] == "dot"
    (other,) = [key for key in run.data.params if key.startswith("a.b-")]
    assert run.data.params[other] == "1"


def test_artifacts_can_be_listed_and_downloaded(filled: Filled, tmp_path: Path) -> None:
    downloaded = filled.client.download_artifacts(filled.run_id, "", str(tmp_path))
    files = {
        path.relative_to(downloaded).as_posix(): path.read_bytes()
        for path in Path(downloaded).rglob("*")
        if path.is_file()
    }
    assert files["files/notes/a b.txt"] == b"text"
    assert files["artifacts/weights/v3/deep/model.bin"] == b"\0\1"
    assert json.loads(files["alerts.json"]) == [{"title": "late"}]
    images = sorted(path for path in files if path.startswith("images/"))
    assert len(images) == 2, "the image, and the smaller one that MLflow's grid shows"
    assert images[0].startswith("images/sample~image+step+4+timestamp+1772323200000+")
    assert images[0].endswith("+compressed.png")
    assert {files[path] for path in images} == {PNG}


def test_training_goes_on_in_a_run_that_was_brought(filled: Filled) -> None:
    run_id = filled.run_id
    filled.client.log_batch(run_id, metrics=[Metric("loss", 0.5, 1, 3), Metric("new", 1.0, 1, 0)])
    assert filled.client.get_run(run_id).data.metrics["loss"] == 0.5
    assert len(filled.client.get_metric_history(run_id, "loss")) == 4
    with pytest.raises(MlflowException, match="already logged"):
        filled.client.log_param(run_id, "layers", "other")


def test_new_runs_and_experiments_can_be_made_beside_the_old_ones(filled: Filled) -> None:
    number = filled.client.create_experiment("made by mlflow")
    run = filled.client.create_run(number)
    filled.client.log_text(run.info.run_id, "hello", "hello.txt")
    assert [f.path for f in filled.client.list_artifacts(run.info.run_id)] == ["hello.txt"]


def test_deleted_runs_and_experiments_are_deleted_and_can_be_restored(filled: Filled) -> None:
    (experiment,) = filled.client.search_experiments(ViewType.DELETED_ONLY)
    assert experiment.name == "deleted experiment"
    (run,) = filled.client.search_runs(
        [e.experiment_id for e in filled.client.search_experiments()],
        run_view_type=ViewType.DELETED_ONLY,
    )
    filled.client.restore_run(run.info.run_id)
    assert filled.client.get_run(run.info.run_id).info.lifecycle_stage == "active"


def test_the_registry_has_its_versions_aliases_and_stages(filled: Filled) -> None:
    client = filled.client
    assert client.get_registered_model("doubler").tags == {"team": "größe", "empty": ""}
    version = client.get_model_version_by_alias("doubler", "champion")
    assert (version.version, version.current_stage) == (2, "Production")
    assert version.description == "version 1"
    stages = {v.version: v.current_stage for v in client.search_model_versions("name='doubler'")}
    assert stages == {1: "Archived", 2: "Production", 3: "Staging"}
    assert client.get_model_version_download_uri("doubler", 2).startswith(str(filled.path.parent))
    prompt = mlflow.genai.load_prompt("prompts:/greeting/2")
    assert prompt.template == "Good day {{name}}"


def test_a_logged_model_can_be_downloaded_by_its_alias(filled: Filled, tmp_path: Path) -> None:
    path = mlflow.artifacts.download_artifacts(
        artifact_uri="models:/doubler@champion", dst_path=str(tmp_path)
    )
    assert (Path(path) / "MLmodel").is_file()
    models = filled.client.search_logged_models(
        [e.experiment_id for e in filled.client.search_experiments()]
    )
    assert {model.name for model in models} == {"model", "checkpoint"}
    checkpoint = next(model for model in models if model.name == "checkpoint")
    assert [(m.key, m.value, m.step) for m in checkpoint.metrics] == [("loss", 0.125, 7)]


def test_datasets_are_shown_with_their_context(filled: Filled) -> None:
    (run,) = filled.client.search_runs(
        [e.experiment_id for e in filled.client.search_experiments()],
        "attributes.run_name = 'datasets'",
    )
    used = {
        data.dataset.name: {tag.key: tag.value for tag in data.tags}
        for data in run.inputs.dataset_inputs
    }
    assert used["held out / größe"] == {"mlflow.data.context": "validation", "split": "größe"}


def test_the_listing_says_which_runs_were_brought(filled: Filled) -> None:
    infos = list(filled.writer.list_runs(Query(run_ids=[filled.run_id])))
    assert [(info.key, info.carried) for info in infos] == [(filled.made.key, True)]


def test_a_run_of_somebody_else_is_never_replaced(filled: Filled) -> None:
    number = filled.client.create_experiment("somebody else's")
    run_id = filled.client.create_run(number).info.run_id
    key = RunKey("mlflow", "", "somebody else's", run_id)
    with pytest.raises(IntegrityError, match="was not written by Trackbridge; not replaced"):
        filled.writer.open([key])
    assert filled.client.get_run(run_id).info.lifecycle_stage == "active"
