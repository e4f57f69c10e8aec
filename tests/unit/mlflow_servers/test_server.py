"""What only database servers do: locks, limits, sequences, and errors of their own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from itertools import count
from pathlib import Path
from typing import Any

import at_once
import pytest
from mlflow.tracking import MlflowClient
from servers import MYSQL, POSTGRES, Databases
from sqlalchemy import make_url

import trackbridge
from trackbridge import registry
from trackbridge.adapter import Query, Row, RunKey
from trackbridge.errors import BridgeError, ConfigError, NotFoundError, TransientError
from trackbridge.testing import MadeRun
from trackbridge.testing.made import store
from trackbridge_adapters.mlflow import ADAPTER, head
from trackbridge_adapters.mlflow.server import Server
from trackbridge_adapters.mlflow.session import UNFINISHED

FIXTURES = Path(__file__).parents[3] / "fixtures"
TIME = datetime(2026, 3, 1, tzinfo=timezone.utc)
MADE_EARLY = "latest_metrics"
"""A table that MLflow's migrations make long before the last."""
LONG = "x" * 20_000
_numbers = count()


@pytest.fixture(params=[POSTGRES, MYSQL], ids=["postgres", "mysql"])
def databases(request: pytest.FixtureRequest) -> Databases:
    found: Databases = request.param
    assert found.base  # or the test is skipped
    return found


def seeded(runs: Sequence[MadeRun]) -> str:
    """The address of a store that holds these runs and everything of them."""
    address = f"memory:seeded-{next(_numbers)}"
    store(registry.open_writer(address), runs)
    return address


def point(key: str, step: int = 0, value: float = 1.0, **more: Any) -> Row:
    return {"key": key, "step": step, "time": TIME, "value": value, "system": False, **more}


def hard() -> list[MadeRun]:
    """Runs that a database might refuse, cut or fold."""
    nul = "a\0b"
    names = ["Loss", "loss", "LOSS", "löss", "loss ", "k" * 250]
    run = MadeRun(
        RunKey("some-kind", "", "hard", "names"),
        {
            "runs": [{"name": LONG, "user": LONG, "program": LONG, "notes": nul, "deleted": True}],
            "params": [{"key": name, "value": f"{name} {nul}", "type": "string"} for name in names]
            + [{"key": "long", "value": LONG, "type": "string"}],
            "tags": [{"key": name, "value": f"{name}\r\n{nul}"} for name in names]
            + [{"key": "long", "value": LONG}],
            "metrics": [point(name, step, step / 7) for name in names for step in range(3)]
            + [point("same"), point("same")]
            + [point("odd", 2**63 - 1, float(v)) for v in ("nan", "inf", "-inf", "5e-324")]
            + [point("odd", -(2**63), -0.0)]
            + [
                point("again", 1, time=datetime(2026, 3, day, tzinfo=timezone.utc))
                for day in range(1, 4)
            ],
            "inputs": [{"name": LONG, "digest": LONG, "kind": "dataset", "context": nul}],
        },
    )
    return [run]


def test_a_chain_of_databases_keeps_every_run(databases: Databases, tmp_path: Path) -> None:
    origin = f"mlflow:{FIXTURES}/mlflow-3.17/mlflow.db"
    there = f"mlflow:{databases.new(tmp_path / 'a')}"
    back = f"mlflow:sqlite:///{tmp_path}/back.db"
    for source, target in ((origin, there), (there, back)):
        report = trackbridge.migrate(source, target)
        assert report.verified, report.failures
        found = trackbridge.verify(origin, target)
        assert found.holds, found.differences
        assert trackbridge.migrate(source, target).skipped == report.total


def test_what_a_database_would_refuse_is_fitted_and_comes_back(
    databases: Databases, tmp_path: Path
) -> None:
    origin, target = seeded(hard()), f"mlflow:{databases.new(tmp_path / 'a')}"
    report = trackbridge.migrate(origin, target)
    assert report.verified, report.failures
    assert trackbridge.verify(origin, target).holds
    kinds = {loss.kind for loss in report.losses}
    assert {"params cut", "runs.name cut", "runs.user cut"} <= kinds
    assert ("NUL shown as ␀" in kinds) == (databases is POSTGRES)
    for table in ("metrics", "params", "tags"):
        assert (f"{table} renamed" in kinds) == (databases is MYSQL)


def test_mlflow_goes_on_numbering_where_we_stopped(databases: Databases, tmp_path: Path) -> None:
    uri = databases.new(tmp_path / "a")
    before = {e.experiment_id for e in MlflowClient(uri).search_experiments()}
    trackbridge.migrate(f"mlflow:{FIXTURES}/mlflow-3.17/mlflow.db", f"mlflow:{uri}")
    client = MlflowClient(uri)
    number = client.create_experiment("made afterwards")
    taken = [e.experiment_id for e in client.search_experiments(view_type=3)]
    assert number not in before and len(set(taken)) == len(taken)
    client.log_metric(client.create_run(number).info.run_id, "loss", 1.0)


def test_an_id_that_does_not_fit_into_the_column_is_given_a_new_one(
    databases: Databases, tmp_path: Path
) -> None:
    target = f"mlflow:{databases.new(tmp_path / 'a')}"
    report = trackbridge.migrate(f"mlflow:{FIXTURES}/mlflow-3.17/mlruns", target)
    assert report.verified, report.failures
    numbers = [n for (n,) in databases.run("SELECT experiment_id FROM experiments", name(target))]
    assert max(numbers) < 2**31


def name(address: str) -> str:
    return make_url(address.removeprefix("mlflow:")).database or ""


def test_an_empty_database_is_filled_by_mlflow_once_it_is_known_where_files_go(
    databases: Databases, tmp_path: Path
) -> None:
    address = f"mlflow:{databases.uri(databases.empty())}"
    source = f"mlflow:{FIXTURES}/mlflow-2.9/mlflow.db"
    with pytest.raises(ConfigError, match=r"a new database; .*--artifact-root PATH"):
        trackbridge.migrate(source, address)
    with pytest.raises(NotFoundError, match="an empty database"):
        list(registry.open_reader(address).list_runs(Query()))
    options = {"artifact_root": str(tmp_path / "files")}
    assert trackbridge.migrate(source, address, target_options=options).verified
    assert trackbridge.verify(source, address).holds


def test_a_process_killed_while_mlflow_makes_the_tables_is_no_hindrance(tmp_path: Path) -> None:
    """Of MySQL: PostgreSQL has all tables or none."""
    assert MYSQL.base  # or the test is skipped
    database = MYSQL.empty()
    source, address = f"{FIXTURES}/mlflow-2.9/mlflow.db", f"mlflow:{MYSQL.uri(database)}"
    command = [sys.executable, "-m", "trackbridge", "migrate", source, address]
    begun = subprocess.Popen(
        [*command, "--artifact-root", str(tmp_path / "files")], start_new_session=True
    )
    tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = '{}'"
    while (MADE_EARLY,) not in MYSQL.run(tables.format(database)):
        assert begun.poll() is None
        time.sleep(0.05)
    os.killpg(begun.pid, signal.SIGKILL)
    begun.wait()
    with pytest.raises(NotFoundError):
        list(registry.open_reader(address).list_runs(Query()))
    options = {"artifact_root": str(tmp_path / "files")}
    assert trackbridge.migrate(source, address, target_options=options).verified
    assert trackbridge.verify(source, address).holds


def test_rows_in_a_half_made_database_are_never_dropped(tmp_path: Path) -> None:
    assert MYSQL.base  # or the test is skipped
    uri = MYSQL.new(tmp_path / "files")
    MlflowClient(uri).create_run("0")
    MYSQL.run(f"CREATE TABLE {UNFINISHED} (nothing INTEGER)", name(uri))
    options = {"artifact_root": str(tmp_path / "files")}
    with pytest.raises(ConfigError, match=f"has rows; .*DROP TABLE {UNFINISHED}"):
        trackbridge.migrate(
            f"{FIXTURES}/mlflow-2.9/mlflow.db", f"mlflow:{uri}", target_options=options
        )
    assert MYSQL.run("SELECT count(*) FROM runs", name(uri)) == [(1,)]


def test_a_database_of_something_else_is_refused(databases: Databases) -> None:
    database = databases.empty()
    databases.run("CREATE TABLE users (id INT)", database)
    address = f"mlflow:{databases.uri(database)}"
    with pytest.raises(ConfigError, match="without MLflow's tables"):
        trackbridge.migrate(f"mlflow:{FIXTURES}/mlflow-2.9/mlflow.db", address)


def test_an_older_revision_is_read_but_written_only_after_an_upgrade(
    databases: Databases, tmp_path: Path
) -> None:
    uri = databases.new(tmp_path / "a")
    databases.run("UPDATE alembic_version SET version_num = 'abc123'", name(uri))
    assert list(ADAPTER.reader(uri, {}).list_runs(Query())) == []
    with pytest.raises(ConfigError) as caught:
        trackbridge.migrate(f"mlflow:{FIXTURES}/mlflow-2.9/mlflow.db", f"mlflow:{uri}")
    text = str(caught.value)
    assert "abc123" in text and head.revision() in text and "mlflow db upgrade" in text


def test_no_password_is_in_an_address_or_a_message(databases: Databases) -> None:
    database = databases.uri("no_such_database").replace("@", ":geheim@")
    for location in (database, re.sub(r":\d+/", ":1/", database)):
        reader = ADAPTER.reader(location, {})
        assert "geheim" not in reader.address
        with pytest.raises(BridgeError) as caught:
            list(reader.list_runs(Query()))
        assert "geheim" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_database_that_is_not_there_is_named(databases: Databases) -> None:
    with pytest.raises(ConfigError, match="no_such_database"):
        list(ADAPTER.reader(databases.uri("no_such_database"), {}).list_runs(Query()))


@pytest.mark.parametrize("scheme", ["postgresql", "mysql+pymysql"])
def test_a_server_that_does_not_answer_is_worth_another_try(scheme: str) -> None:
    with pytest.raises(TransientError, match=re.escape(f"{scheme}://u@127.0.0.1:1/x")):
        list(ADAPTER.reader(f"{scheme}://u:geheim@127.0.0.1:1/x", {}).list_runs(Query()))


@pytest.mark.parametrize("scheme", ["postgresql", "mysql+pymysql"])
def test_a_host_that_does_not_exist_is_a_mistake_in_the_address(scheme: str) -> None:
    with pytest.raises(ConfigError, match=r"no-such-host\.invalid.*; check the address"):
        list(ADAPTER.reader(f"{scheme}://u@no-such-host.invalid/x", {}).list_runs(Query()))


def test_an_address_without_a_database_is_refused() -> None:
    with pytest.raises(ConfigError, match="names no database"):
        ADAPTER.reader("postgresql://u@127.0.0.1", {})


def test_a_source_is_seen_in_one_state_and_cannot_be_written(
    databases: Databases, tmp_path: Path
) -> None:
    uri = databases.new(tmp_path / "a")
    with Server(uri).session() as session:
        before = session.fetch("SELECT count(*) FROM experiments")
        MlflowClient(uri).create_experiment("meanwhile")
        assert session.fetch("SELECT count(*) FROM experiments") == before
        with pytest.raises(BridgeError):
            session._connection.execute("DELETE FROM experiments", [])  # type: ignore[attr-defined]
    assert len(MlflowClient(uri).search_experiments()) == 2


def test_one_chunk_waits_for_another(databases: Databases, tmp_path: Path) -> None:
    server = Server(databases.new(tmp_path / "a"))
    transaction = server.transaction()
    with pytest.raises(TransientError):
        server.transaction(wait=1)
    transaction.close()
    server.transaction(wait=1).close()


def made(prefix: str, number: int) -> list[MadeRun]:
    return [
        MadeRun(
            RunKey("some-kind", prefix, f"project {prefix}", f"{prefix}{n}"),
            {
                "runs": [{"name": f"{prefix}{n}", "status": "finished", "deleted": False}],
                "metrics": [point("loss", step, step * n) for step in range(200)],
            },
            {("", "model.txt"): f"{prefix}{n}".encode()},
        )
        for n in range(number)
    ]


def test_two_migrations_and_a_live_client_lose_nothing_of_each_other(
    databases: Databases, tmp_path: Path
) -> None:
    uri = databases.new(tmp_path / "a")
    origins = [seeded(made(prefix, 30)) for prefix in ("one", "two")]
    client, logged = MlflowClient(uri), []

    def log() -> None:
        number = client.create_experiment(f"live {len(logged)}")
        run = client.create_run(number).info.run_id
        client.log_metric(run, "loss", 1.0)
        logged.append(run)

    failures = at_once.migrated(origins, f"mlflow:{uri}", log)
    assert failures == [] and logged
    for origin in origins:
        assert trackbridge.verify(origin, f"mlflow:{uri}").holds
    histories = [MlflowClient(uri).get_metric_history(run, "loss") for run in logged]
    assert [len(history) for history in histories] == [1] * len(logged)
    assert len(list(ADAPTER.reader(uri, {}).list_runs(Query()))) == 60 + len(logged)


def test_a_database_is_not_moved_onto_itself_under_another_spelling(
    databases: Databases, tmp_path: Path
) -> None:
    uri = databases.new(tmp_path / "a")
    spellings = [uri.replace("127.0.0.1", "localhost"), re.sub(r"\+\w+", "", uri)]
    default = re.sub(r":\d+/", "/", uri)
    for other in [*spellings, default]:
        with pytest.raises(ConfigError, match="the same store"):
            trackbridge.migrate(f"mlflow:{uri}", f"mlflow:{other}")
