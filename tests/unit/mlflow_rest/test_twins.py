"""Runs on a server that name the same run in other stores."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from typing import Any

import growing
import linked
import pytest
from click.testing import CliRunner
from mlflow.entities import Run, ViewType
from mlflow.tracking import MlflowClient

import trackbridge
from trackbridge.adapter import Query
from trackbridge.cli import main
from trackbridge.errors import NotFoundError
from trackbridge.optional import Linking
from trackbridge.registry import open_reader, open_writer
from trackbridge.testing.extending import extend
from trackbridge_adapters.mlflow.entities import ABANDONED_TAG, TWINS_TAG
from trackbridge_adapters.mlflow.rest_write import RestWriter


def shown(address: str, project: str) -> Run:
    client = MlflowClient(address)
    experiment = client.get_experiment_by_name(project)
    runs = client.search_runs([experiment.experiment_id], "", ViewType.ALL)
    (run,) = [run for run in runs if ABANDONED_TAG not in run.data.tags]
    return run


def test_a_run_names_its_twins_and_is_the_same_run(proxied: str) -> None:
    project = f"project {uuid.uuid4().hex[:8]}"

    def told() -> Any:
        return json.loads(shown(proxied, project).data.tags.get(TWINS_TAG, "[]"))

    run = growing.grown(project)
    name, target = f"twins {project}", f"mlflow:{proxied}"
    writer = open_writer(target)
    assert isinstance(writer, Linking)
    with pytest.raises(NotFoundError):
        writer.place(run.key)
    linked.store(open_writer(f"memory:{name}"), [run])
    report = trackbridge.migrate(f"memory:{name}", target)
    assert report.verified, report.failures
    before = list(open_reader(target).list_runs(Query(projects=[project])))
    writer.link(run.key, linked.TWINS)
    assert told() == [twin._asdict() for twin in linked.TWINS]
    assert list(open_reader(target).list_runs(Query(projects=[project]))) == before
    assert trackbridge.verify(f"memory:{name}", target).holds
    native = shown(proxied, project)
    place = writer.place(run.key)
    number = native.info.experiment_id
    page = f"{proxied}/#/experiments/{number}/runs/{native.info.run_id}"
    assert place == (target, project, native.info.run_id, page)
    run.tables["runs"][0]["user"] = "another"
    linked.store(open_writer(f"memory:{name}"), [run])
    assert trackbridge.migrate(f"memory:{name}", target).updated == 1
    assert shown(proxied, project).info.run_id != native.info.run_id
    assert told() == [twin._asdict() for twin in linked.TWINS]
    writer.link(run.key, [])
    assert not told()


def test_a_run_is_found_by_the_id_that_the_server_chose_and_ls_shows_both(proxied: str) -> None:
    project = f"project {uuid.uuid4().hex[:8]}"
    target = f"mlflow:{proxied}"
    run = growing.grown(project)
    run = replace(run, key=run.key._replace(run_id=f"own-{uuid.uuid4().hex}"))
    linked.store(open_writer(f"memory:ids {project}"), [run])
    report = trackbridge.migrate(f"memory:ids {project}", target)
    assert report.verified, report.failures
    native = shown(proxied, project).info.run_id

    def told(*command: str) -> Any:
        result = CliRunner().invoke(main, [*command, "--json"])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    (listed,) = told("ls", target, "--project", project)["runs"]
    assert listed["native_id"] == native != listed["run_id"]
    for name in (native, listed["run_id"]):
        for choice in (["--run", name], ["--where", f"attributes.run_id = '{name}'"]):
            assert told("ls", target, "--project", project, *choice)["runs"] == [listed]
        assert ["native_id", native] in told("show", target, name)["run"]
    away = f"memory:{project}-away"
    assert told("migrate", target, away, "--run", native)["runs"]["copied"] == 1
    table = CliRunner().invoke(main, ["ls", target, "--project", project])
    assert native in table.stdout and "id on the server" in table.stdout


def test_a_run_that_goes_on_names_its_twins_and_is_gone_on_with(proxied: str) -> None:
    project = f"project {uuid.uuid4().hex[:8]}"
    writer = open_writer(f"mlflow:{proxied}")
    assert isinstance(writer, RestWriter)
    run = growing.grown(project)
    extend(writer, [run], 0, 40)
    place = writer.place(run.key)
    writer.link(run.key, linked.TWINS)
    extend(writer, [run], 40, 100)
    assert trackbridge.migrate(growing.source(project), f"mlflow:{proxied}").verified
    native = shown(proxied, project)
    assert native.info.run_id == place.run_id
    assert json.loads(native.data.tags[TWINS_TAG]) == [each._asdict() for each in linked.TWINS]


def test_a_tag_of_a_users_that_is_called_like_ours_stays_the_runs(proxied: str) -> None:
    client, project = MlflowClient(proxied), f"project {uuid.uuid4().hex[:8]}"
    run = client.create_run(client.create_experiment(project), tags={TWINS_TAG: "mine"})
    reader = open_reader(f"mlflow:{proxied}")
    (info,) = reader.list_runs(Query(projects=[project]))
    rows = [r for batch in reader.read_runs([info.ref], {"tags"}) for r in batch.data.to_pylist()]
    assert {row["key"]: row["value"] for row in rows}[TWINS_TAG] == "mine"
    client.set_tag(run.info.run_id, TWINS_TAG, "changed")
    assert next(reader.list_runs(Query(projects=[project]))).fingerprint != info.fingerprint
