"""Versions on a server lead to the logged models that they were made of, whosever these are."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from trackbridge.adapter import Query
from trackbridge.columns import batches
from trackbridge.engine import migrate
from trackbridge.errors import BridgeError, TransientError
from trackbridge.registry import open_reader, open_writer
from trackbridge.testing.base import rows_of
from trackbridge_adapters.mlflow import empty
from trackbridge_adapters.mlflow.rest_ids import ID_TAG
from trackbridge_adapters.mlflow.rest_registry import Registry
from trackbridge_adapters.mlflow.rest_server import Json, Server


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of an empty database, which MLflow's registry asks for logged models."""
    empty.create(tmp_path / "mlflow.db", str(tmp_path / "artifacts"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


def test_a_version_of_another_runs_model_leads_to_it_even_when_that_run_was_replaced(
    source: str, proxied: str, tmp_path: Path
) -> None:
    here, there, home = map(MlflowClient, (source, proxied, f"sqlite:///{tmp_path}/home.db"))
    name = f"model {uuid.uuid4().hex[:8]}"
    where = here.create_experiment(name)
    maker, other = (here.create_run(where).info.run_id for _ in range(2))
    model = here.create_logged_model(where, name="made", source_run_id=maker)
    here.create_registered_model(name)
    for run in (maker, other, None):
        here.create_model_version(name, f"models:/{model.model_id}", run)
    here.set_registered_model_alias(name, "champion", "2")
    for number in range(2):
        here.log_param(maker, f"param {number}", "x")
        report = migrate(f"mlflow:{source}", f"mlflow:{proxied}")
        assert report.verified, report.failures
        numbers = [there.get_experiment_by_name(name).experiment_id]
        (shown,) = there.search_logged_models(numbers)
        versions = there.search_model_versions(f"name = '{name}'")
        assert [v.source for v in versions] == [f"models:/{shown.model_id}"] * 3, number
        of_other = there.get_model_version_by_alias(name, "champion").run_id
        assert there.get_run(of_other).data.tags[ID_TAG] == other
    assert migrate(f"mlflow:{proxied}", f"mlflow:sqlite:///{tmp_path}/home.db").failures == []
    versions = home.search_model_versions(f"name = '{name}'")
    assert [v.source for v in versions] == [f"models:/{model.model_id}"] * 3


def test_a_lost_answer_makes_no_second_version(
    source: str, proxied: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = map(MlflowClient, (source, proxied))
    name = f"model {uuid.uuid4().hex[:8]}"
    run = here.create_run(here.create_experiment(name)).info.run_id
    here.create_registered_model(name)
    for _ in range(2):
        here.create_model_version(name, "s3://bucket/files", run)
    here.delete_model_version(name, "1")  # the server will count from one again
    real, lost = Server.create, []

    def losing(self: Server, path: str, body: Json) -> Json:
        answer = real(self, path, body)
        if path == "mlflow/model-versions/create" and not lost:
            lost.append(path)
            raise TransientError("the answer was lost")
        return answer

    monkeypatch.setattr(Server, "create", losing)
    report = migrate(f"mlflow:{source}", f"mlflow:{proxied}")
    assert report.verified and lost
    assert len(there.search_model_versions(f"name = '{name}'")) == 1


def test_a_process_that_is_killed_while_it_replaces_a_version_loses_no_alias(
    source: str, proxied: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = map(MlflowClient, (source, proxied))
    name = f"model {uuid.uuid4().hex[:8]}"
    where = here.create_experiment(name)
    run = here.create_run(where).info.run_id
    model = here.create_logged_model(where, name="made", source_run_id=run)
    here.create_registered_model(name)
    here.create_model_version(name, f"models:/{model.model_id}", run)
    here.set_registered_model_alias(name, "champion", "1")
    assert migrate(f"mlflow:{source}", f"mlflow:{proxied}").verified
    here.log_param(run, "changed", "x")  # the run, and so its model, gets another id there

    def killed(*_: Any) -> None:
        raise BridgeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(Registry, "_succeed", killed)
        with pytest.raises(BridgeError, match="killed"):
            migrate(f"mlflow:{source}", f"mlflow:{proxied}")
    assert there.get_model_version_by_alias(name, "champion").version == "1"
    assert migrate(f"mlflow:{source}", f"mlflow:{proxied}").verified
    (version,) = there.search_model_versions(f"name = '{name}'")
    assert there.get_model_version_by_alias(name, "champion").version == version.version
    assert there.get_run(version.run_id).data.params == {"changed": "x"}


def test_aliases_that_a_server_does_not_take_come_home(proxied: str) -> None:
    name = f"model {uuid.uuid4().hex[:8]}"
    aliases = {"best-1.2": "v0", "latest": "v1", "prod": "v1", "v7": "v0"}
    rows = {
        "models": [{"name": name, "aliases": json.dumps(aliases)}],
        "model_versions": [{"name": name, "version": f"v{number}"} for number in range(2)],
    }
    source, home = (f"memory:{name} {place}" for place in ("here", "home"))
    with open_writer(source).open([]) as sink:
        for table, some in rows.items():
            for batch in batches(table, some):
                sink.write(batch)
        sink.commit()
    assert migrate(source, f"mlflow:{proxied}").failures == []
    prod = MlflowClient(proxied).get_model_version_by_alias(name, "prod")
    assert prod.tags["trackbridge.version"] == "v1"
    assert migrate(f"mlflow:{proxied}", home).failures == []
    found = rows_of(open_reader(home).read_shared(Query()))["models"]
    assert [json.loads(row["aliases"]) for row in found if row["name"] == name] == [aliases]
