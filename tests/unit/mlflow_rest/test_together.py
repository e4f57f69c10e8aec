"""Two migrations into one server at the same time, and MLflow logging to it meanwhile."""

from __future__ import annotations

import sys
import threading
import time
import uuid
from datetime import datetime, timezone
from pathlib import Path

import mlflow_servers
import pytest
from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient

import trackbridge
from trackbridge import registry
from trackbridge.adapter import Query, RunInfo, RunKey
from trackbridge.testing import MadeRun
from trackbridge.testing.made import store
from trackbridge_adapters.mlflow import rest_lock
from trackbridge_adapters.mlflow.entities import ABANDONED_TAG, LOCK_MODEL
from trackbridge_adapters.mlflow.rest_lock import Lock
from trackbridge_adapters.mlflow.rest_runs import Writing
from trackbridge_adapters.mlflow.rest_server import Server
from trackbridge_adapters.mlflow.rest_write import RestWriter

TIME = datetime(2026, 3, 1, tzinfo=timezone.utc)
POINT = {"key": "loss", "time": TIME, "system": False}


def made(project: str, number: int) -> list[MadeRun]:
    return [
        MadeRun(
            RunKey("some-kind", project, project, f"{project}-{n}"),
            {
                "runs": [{"name": f"run {n}", "status": "finished", "deleted": False}],
                "metrics": [{**POINT, "step": step, "value": float(n)} for step in range(50)],
            },
            {("", "model.txt"): f"{n}".encode()},
        )
        for n in range(number)
    ]


@pytest.mark.parametrize("same", [False, True], ids=["two sources", "the same source"])
def test_two_migrations_and_a_live_client_lose_and_double_nothing(
    same: bool, proxied: str, tmp_path: Path
) -> None:
    names = [f"project {uuid.uuid4().hex[:8]}" for _ in range(2)]
    if same:
        names[1] = names[0]
    origins = [f"memory:{uuid.uuid4().hex}" for _ in names]
    for name, origin in zip(names, origins):
        store(registry.open_writer(origin), made(name, 8))
    target = f"mlflow:{proxied}"
    stop, logged, failures = threading.Event(), [], []

    def live() -> None:
        client = MlflowClient(proxied)
        number = client.create_experiment(f"live {uuid.uuid4().hex}")
        while not stop.is_set():
            run = client.create_run(number).info.run_id
            client.log_metric(run, "loss", 1.0)
            logged.append(run)

    def move(origin: str) -> None:
        try:
            failures.extend(trackbridge.migrate(origin, target).failures)
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=move, args=[origin]) for origin in origins]
    client = threading.Thread(target=live)
    for thread in (client, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    client.join()
    assert failures == [] and logged
    for origin in origins:
        found = trackbridge.verify(origin, target)
        assert found.differences == [] and found.holds
    for name in names:
        experiment = MlflowClient(proxied).get_experiment_by_name(name)
        runs = MlflowClient(proxied).search_runs([experiment.experiment_id], "", ViewType.ALL)
        assert len([run for run in runs if ABANDONED_TAG not in run.data.tags]) == 8
        assert len(list(RestWriter(proxied).list_runs(Query(projects=[name])))) == 8
    assert len(MlflowClient(proxied).get_metric_history(logged[0], "loss")) == 1


def test_the_lock_waits_for_its_holder_and_is_gone_afterwards(proxied: str) -> None:
    first, second = Lock(Server(proxied)), Lock(Server(proxied))
    first.acquire()
    waiting = threading.Thread(target=second.acquire)
    waiting.start()
    time.sleep(1)
    assert waiting.is_alive()
    first.release()
    waiting.join()
    assert LOCK_MODEL not in [row["name"] for row in shared_models(proxied)]
    second.release()
    assert [
        m.name for m in MlflowClient(proxied).search_registered_models() if m.name == LOCK_MODEL
    ] == []


def test_a_lock_of_a_killed_process_is_taken_over(
    proxied: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest_lock, "STALE_SECONDS", 1)
    MlflowClient(proxied).create_registered_model(LOCK_MODEL)
    lock = Lock(Server(proxied))
    lock.acquire()
    lock.release()


def shared_models(address: str) -> list[dict[str, object]]:
    return [
        row
        for batch in RestWriter(address).read_shared(Query())
        if batch.table == "models"
        for row in batch.data.to_pylist()
    ]


def test_what_is_half_written_over_rest_is_seen_in_the_servers_database_by_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = f"sqlite:///{tmp_path}/mlflow.db"
    name = "half"
    with mlflow_servers.started(tmp_path, "--backend-store-uri", database) as (address, _):
        with monkeypatch.context() as patch:
            patch.setattr(Writing, "show", lambda self, old: sys.exit("killed"))
            patch.setattr(Writing, "give_up", lambda self: None)
            with pytest.raises(SystemExit):
                store(RestWriter(address), made(name, 2))
        MlflowClient(address).create_registered_model(LOCK_MODEL)
        assert list(runs(database, name)) == []
        store(RestWriter(address), made(name, 1))
        assert [info.key.run_id for info in runs(database, name)] == [f"{name}-0"]
        reader = registry.open_reader(f"mlflow:{database}")
        shared = [row for batch in reader.read_shared(Query()) for row in batch.data.to_pylist()]
        assert LOCK_MODEL not in [row.get("name") for row in shared]


def runs(address: str, project: str) -> list[RunInfo]:
    query = Query(projects=[project], include_deleted=True)
    return list(registry.open_reader(f"mlflow:{address}").list_runs(query))
