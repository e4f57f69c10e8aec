"""Two migrations into one server at the same time, and MLflow logging to it meanwhile."""

from __future__ import annotations

import sys
import threading
import time
import uuid
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import at_once
import mlflow_servers
import pytest
from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient

import trackbridge
from trackbridge import registry
from trackbridge.adapter import Query, RunInfo, RunKey
from trackbridge.errors import TransientError
from trackbridge.testing import MadeRun
from trackbridge.testing.made import store
from trackbridge_adapters.mlflow import rest_lock, rest_write
from trackbridge_adapters.mlflow.entities import ABANDONED_TAG, LOCK_MODEL
from trackbridge_adapters.mlflow.rest_lock import Held, Lock
from trackbridge_adapters.mlflow.rest_runs import Writing
from trackbridge_adapters.mlflow.rest_server import Json, Server
from trackbridge_adapters.mlflow.rest_spool import Spool
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
    client, logged = MlflowClient(proxied), []
    number = client.create_experiment(f"live {uuid.uuid4().hex}")

    def log() -> None:
        run = client.create_run(number).info.run_id
        client.log_metric(run, "loss", 1.0)
        logged.append(run)

    failures = at_once.migrated(origins, target, log)
    assert failures == [] and logged
    for origin in origins:
        found = trackbridge.verify(origin, target)
        assert found.differences == [] and found.holds
    for name in names:
        experiment = MlflowClient(proxied).get_experiment_by_name(name)
        runs = MlflowClient(proxied).search_runs([experiment.experiment_id], "", ViewType.ALL)
        assert len([run for run in runs if ABANDONED_TAG not in run.data.tags]) == 8
        assert len(list(RestWriter(proxied).list_runs(Query(projects=[name])))) == 8
    live = client.search_runs([number], max_results=50_000)
    assert sorted(run.info.run_id for run in live) == sorted(logged)
    assert all(run.data.metrics == {"loss": 1.0} for run in live)


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


def test_an_error_is_not_taken_for_a_free_lock(
    proxied: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest_lock, "STALE_SECONDS", 0)
    first, second = Lock(Server(proxied)), Lock(Server(proxied))
    first.acquire()
    with monkeypatch.context() as patch:
        patch.setattr(Server, "get", broken)
        with pytest.raises(TransientError, match="broken"):
            second.acquire()
    assert holders(proxied) == [LOCK_MODEL]
    first.release()
    assert holders(proxied) == []


def test_who_lost_the_lock_leaves_it_to_its_next_holder(proxied: str) -> None:
    first, second = Lock(Server(proxied)), Lock(Server(proxied))
    first.acquire()
    MlflowClient(proxied).delete_registered_model(LOCK_MODEL)
    second.acquire()
    first.release()
    assert holders(proxied) == [LOCK_MODEL]
    second.release()
    assert holders(proxied) == []


def test_who_takes_over_too_late_gives_the_lock_back(proxied: str) -> None:
    """Two wait for the same stale lock: the first has it by now, the second comes to delete it."""
    stale = Held("killed", "long ago")
    first, second = Lock(Server(proxied)), Lock(Server(proxied))
    first.acquire()
    second._take_away(stale)
    assert holders(proxied) == [LOCK_MODEL]
    first.release()
    assert holders(proxied) == []


def test_a_lost_answer_to_the_making_of_the_lock_makes_nobody_wait(
    proxied: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest_lock, "WAIT_SECONDS", 0)
    real = Server.post

    def twice(self: Server, path: str, *args: Any) -> Json:
        if path.endswith("registered-models/create"):
            real(self, path, *args)
        return real(self, path, *args)

    monkeypatch.setattr(Server, "post", twice)
    lock = Lock(Server(proxied))
    lock.acquire()
    lock.release()
    assert holders(proxied) == []


def test_a_chunk_that_cannot_begin_leaves_no_lock(
    proxied: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest_write, "Spool", broken)
    with pytest.raises(TransientError, match="broken"):
        RestWriter(proxied).open([])
    assert holders(proxied) == []


def test_the_lock_is_released_even_if_what_was_kept_aside_cannot_be_removed(
    proxied: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Spool, "close", broken)
    with pytest.raises(TransientError, match="broken"), RestWriter(proxied).open([]):
        assert holders(proxied) == [LOCK_MODEL]
    assert holders(proxied) == []


def test_experiments_are_read_once_the_lock_is_there(
    proxied: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"meanwhile {uuid.uuid4().hex[:8]}"
    real = Lock.acquire

    def acquire(self: Lock) -> None:
        MlflowClient(proxied).create_experiment(name)
        real(self)

    monkeypatch.setattr(Lock, "acquire", acquire)
    with RestWriter(proxied).open([]) as sink:
        assert name in sink._experiments.labels.values()


def broken(*_: object, **__: object) -> Any:
    raise TransientError("broken")


def holders(address: str) -> list[str]:
    """The lock, if somebody holds it, and what is left of others."""
    models = MlflowClient(address).search_registered_models()
    return [model.name for model in models if model.name.startswith(LOCK_MODEL)]


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
