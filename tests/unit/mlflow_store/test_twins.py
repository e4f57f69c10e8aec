"""Runs in databases that name the same run in other stores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import growing
import linked
from mlflow.tracking import MlflowClient

import trackbridge
from trackbridge.registry import open_writer
from trackbridge_adapters.mlflow.entities import LONGEST_TAG, TWINS_TAG


def test_a_run_names_its_twins_and_is_the_same_run(tmp_path: Path) -> None:
    uri, run = f"sqlite:///{tmp_path}/mlflow.db", growing.grown("vision")
    run_id = open_writer(f"mlflow:{uri}").target(run.key).run_id

    def told() -> Any:
        return json.loads(MlflowClient(uri).get_run(run_id).data.tags.get(TWINS_TAG, "[]"))

    place = linked.check("twins in a database", f"mlflow:{uri}", run, told)
    assert place == (f"mlflow:{uri}", "vision", run_id, None)


def test_more_twins_than_a_tag_has_room_for_are_left_out(tmp_path: Path) -> None:
    uri, run = f"sqlite:///{tmp_path}/mlflow.db", growing.grown("vision")
    linked.store(open_writer("memory:many twins"), [run])
    trackbridge.migrate("memory:many twins", f"mlflow:{uri}")
    linked.writing(f"mlflow:{uri}").link(run.key, linked.TWINS * 50)
    run_id = open_writer(f"mlflow:{uri}").target(run.key).run_id
    tag = MlflowClient(uri).get_run(run_id).data.tags[TWINS_TAG]
    assert len(tag) <= LONGEST_TAG
    assert 20 < len(json.loads(tag)) < 100


def test_a_tag_of_a_users_that_is_called_like_ours_is_brought(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/from.db"
    client = MlflowClient(uri)
    run = client.create_run("0", tags={TWINS_TAG: "mine"})
    client.set_terminated(run.info.run_id)
    source, target = f"mlflow:{uri}", f"mlflow:sqlite:///{tmp_path}/to.db"
    assert trackbridge.migrate(source, target).verified
    assert trackbridge.verify(source, target).holds
    assert trackbridge.migrate(target, f"mlflow:sqlite:///{tmp_path}/again.db").verified
    assert trackbridge.verify(source, f"mlflow:sqlite:///{tmp_path}/again.db").holds
