"""What belongs to no run goes from one kind of database to the next and comes home the same."""

from __future__ import annotations

import itertools
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from servers import MYSQL, POSTGRES, Databases

from trackbridge.adapter import Query
from trackbridge.comparison import verify
from trackbridge.engine import migrate

FIXTURES = Path(__file__).parents[3] / "fixtures"
KINDS = {"traces": 8, "evaluation_datasets": 2, "scorers": 2, "stray_models": 2}
"""What genai-3.17 holds."""


def test_traces_and_all_else_go_round_every_database_and_come_home(tmp_path: Path) -> None:
    assert POSTGRES.base and MYSQL.base  # or the test is skipped
    origin = f"mlflow:{FIXTURES}/genai-3.17/mlflow.db"
    places = [
        origin,
        f"mlflow:{POSTGRES.new(tmp_path / 'postgres')}",
        f"mlflow:{MYSQL.new(tmp_path / 'mysql')}",
        f"mlflow:sqlite:///{tmp_path}/back.db",
    ]
    for source, target in itertools.pairwise(places):
        report = migrate(source, target)
        assert report.failures == []
        assert {kind: tally.copied for kind, tally in report.items.items()} == KINDS
        again = migrate(source, target)
        assert {kind: tally.skipped for kind, tally in again.items.items()} == KINDS
        compared = verify(origin, target)
        assert compared.differences == []
        assert {kind: tally.equal for kind, tally in compared.items.items()} == KINDS


@pytest.mark.parametrize("databases", [POSTGRES, MYSQL], ids=["postgres", "mysql"])
def test_the_client_shows_the_traces_of_a_server(databases: Databases, tmp_path: Path) -> None:
    assert databases.base
    expected = json.loads((FIXTURES / "genai-3.17" / "expected.json").read_text("utf-8"))
    address = databases.new(tmp_path / "files")
    assert migrate(str(FIXTURES / "genai-3.17" / "mlflow.db"), f"mlflow:{address}").verified
    client = MlflowClient(address)
    for name, trace in expected["traces"].items():
        found = client.get_trace(name).to_dict()
        found["info"]["tags"].pop("mlflow.artifactLocation")
        for info in (found["info"], trace["info"]):  # every database has an order of its own
            info.get("assessments", []).sort(key=lambda each: each["assessment_id"])
        assert found["data"] == trace["data"]
        assert found["info"] == trace["info"]


def test_a_trace_that_a_server_refuses_is_named_and_the_others_arrive(tmp_path: Path) -> None:
    assert POSTGRES.base
    source = shutil.copytree(FIXTURES / "genai-3.17", tmp_path / "source") / "mlflow.db"
    with closing(sqlite3.connect(source)) as database, database:
        query = "SELECT request_id FROM trace_info WHERE trace_name = 'free 1'"
        ((name,),) = database.execute(query)
        database.execute("INSERT INTO trace_tags VALUES ('nul', 'a' || char(0), ?)", [name])
    target = f"mlflow:{POSTGRES.new(tmp_path / 'files')}"
    report = migrate(str(source), target, Query())
    assert [failure.run for failure in report.failures] == [f"traces {name}"]
    assert report.items["traces"].copied == KINDS["traces"] - 1
    assert [found.key for found in verify(str(source), target).differences] == [name]
