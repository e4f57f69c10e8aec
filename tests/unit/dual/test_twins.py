"""A run names the same run in the other stores that it was delivered to, and where it was born."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trackbridge.dual import standing
from trackbridge.dual.delivery import Delivery
from trackbridge.dual.replay import replay
from trackbridge.dual.run import Run
from trackbridge.dual.starting import begin
from trackbridge.errors import TransientError
from trackbridge.registry import open_writer
from trackbridge_adapters.mlflow.entities import TWINS_TAG
from trackbridge_adapters.mlflow.sql_write import SqlWriter

KEY = ("wandb", "", "team/p", "abc")
BORN = {"store": "wandb", "project": "team/p", "run_id": "abc", "url": None}

tracking = pytest.importorskip("mlflow.tracking")


def logged(folder: Path) -> Path:
    """A mirrored run that has ended; nobody delivers it."""
    run, _ = begin("p", "r1", [], folder, key=KEY, kind=Run)
    run.log({"loss": 1.0})
    found = run.folder
    run.finish()
    assert found is not None
    return found


def told(uri: str) -> list[dict[str, Any]]:
    client = tracking.MlflowClient(uri)
    (run,) = client.search_runs([each.experiment_id for each in client.search_experiments()])
    twins: list[dict[str, Any]] = json.loads(run.data.tags.get(TWINS_TAG, "[]"))
    return twins


def test_a_replay_has_each_store_name_the_others_and_the_original(tmp_path: Path) -> None:
    folder, uri = logged(tmp_path / "journals"), f"sqlite:///{tmp_path}/mlflow.db"
    archive = f"archive:{tmp_path}/out"
    to = [f"mlflow:{uri}", archive]
    assert [each.what for each in replay([folder], to)] == ["delivered", "delivered"]
    run_id = tracking.MlflowClient(uri).search_runs(["1"])[0].info.run_id
    target = open_writer(archive).target(Delivery(folder, archive).info().key)
    there = {"store": archive, "project": target.project, "run_id": target.run_id, "url": None}
    assert told(uri) == [BORN, there]
    assert [each.what for each in replay([folder], to)] == ["skipped", "skipped"]
    assert standing.load(folder, to[0]).place == [f"mlflow:{uri}", "team/p", run_id, None]


def test_a_store_that_is_reached_later_is_named_then(tmp_path: Path) -> None:
    folder, uri = logged(tmp_path / "journals"), f"sqlite:///{tmp_path}/mlflow.db"
    first = Delivery(folder, f"mlflow:{uri}")
    fingerprint = first.info().fingerprint
    first.close()
    assert told(uri) == [BORN] and first.is_done(fingerprint)
    other = Delivery(folder, f"archive:{tmp_path}/out")
    other.close()
    assert other.is_done(fingerprint) and not first.is_done(fingerprint)
    first.close()
    assert first.is_done(fingerprint)
    assert [twin["store"] for twin in told(uri)] == ["wandb", f"archive:{tmp_path}/out"]


def test_a_run_whose_twins_cannot_be_named_now_is_proven_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, uri = logged(tmp_path / "journals"), f"sqlite:///{tmp_path}/mlflow.db"
    delivery = Delivery(folder, f"mlflow:{uri}")

    def fail(*_: object) -> None:
        raise TransientError("not now")

    with monkeypatch.context() as patch:
        patch.setattr(SqlWriter, "link", fail)
        with pytest.raises(TransientError):
            delivery.close()
    again = Delivery(folder, f"mlflow:{uri}")
    assert again.standing.state == "done"
    assert not again.is_done(again.info().fingerprint)
    again.close()
    assert again.is_done(again.info().fingerprint) and told(uri) == [BORN]
