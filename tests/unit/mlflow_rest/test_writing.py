"""Runs on a server: found by their key, replaced and never doubled, nested as they were."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from mlflow.entities import Run, ViewType
from mlflow.tracking import MlflowClient

from trackbridge.adapter import Query, RunKey
from trackbridge.errors import BridgeError, IntegrityError, TransientError
from trackbridge.testing import MadeRun
from trackbridge.testing.made import deliver, store
from trackbridge.testing.samples import simple
from trackbridge_adapters.mlflow import rest_store
from trackbridge_adapters.mlflow.entities import ABANDONED_TAG, KEY_TAG, PARENT, PENDING_TAG
from trackbridge_adapters.mlflow.rest_ids import ID_TAG
from trackbridge_adapters.mlflow.rest_runs import Writing
from trackbridge_adapters.mlflow.rest_server import Server
from trackbridge_adapters.mlflow.rest_write import RestWriter


@pytest.fixture(params=["proxied", "direct"])
def address(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def project() -> str:
    """An experiment that no other test has."""
    return f"project {uuid.uuid4().hex[:8]}"


def born(project: str, run_id: str, **row: object) -> MadeRun:
    """A run as MLflow makes it."""
    run = simple(run_id, project=project)
    run.key = RunKey("mlflow", "", project, run_id)
    run.tables["runs"][0].update(row)
    return run


def natives(address: str, project: str, *, marked: bool = False) -> dict[str, Run]:
    """Runs of an experiment by their id on the server, as MLflow's client sees them."""
    client = MlflowClient(address)
    experiment = client.get_experiment_by_name(project)
    runs = client.search_runs([experiment.experiment_id], "", ViewType.ALL)
    return {run.info.run_id: run for run in runs if marked or ABANDONED_TAG not in run.data.tags}


def listed(address: str, project: str) -> dict[str, str]:
    reader = RestWriter(address)
    return {i.ref.run_id: str(i.key) for i in reader.list_runs(Query(projects=[project]))}


def test_writing_again_leaves_one_run_and_a_shell_that_is_deleted(
    address: str, project: str
) -> None:
    run = born(project, "a" * 32)
    for loss in (0.5, 0.25):
        run.tables["params"] = [{"key": "loss", "value": str(loss), "type": "string"}]
        store(RestWriter(address), [run])
    assert listed(address, project) == {"a" * 32: str(run.key)}
    (shown,) = natives(address, project).values()
    assert shown.data.params == {"loss": "0.25"}
    every = natives(address, project, marked=True)
    (shell,) = (r for r in every.values() if ABANDONED_TAG in r.data.tags)
    assert shell.info.lifecycle_stage == "deleted"
    assert KEY_TAG not in shell.data.tags


def test_a_writer_that_was_killed_leaves_nothing_that_counts_and_the_next_one_tidies_up(
    address: str, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = born(project, "b" * 32)

    def killed(self: Writing, old: object) -> None:
        raise SystemExit("killed")

    with monkeypatch.context() as patch:
        patch.setattr(Writing, "show", killed)
        patch.setattr(Writing, "give_up", lambda self: None)
        with pytest.raises(SystemExit):
            store(RestWriter(address), [run])
    (half,) = natives(address, project).values()
    assert half.data.tags[PENDING_TAG] == str(run.key)
    assert listed(address, project) == {}
    store(RestWriter(address), [run])
    assert listed(address, project) == {"b" * 32: str(run.key)}
    assert len(natives(address, project)) == 1


def test_a_chunk_that_fails_in_the_middle_leaves_the_run_that_was_there(
    address: str, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = born(project, "c" * 32)
    store(RestWriter(address), [run])
    before = natives(address, project)

    def broken(self: Writing, ref: object, row: object) -> None:
        raise BridgeError("broken")

    with monkeypatch.context() as patch:
        patch.setattr(Writing, "_finish", broken)
        with pytest.raises(BridgeError, match="broken"):
            store(RestWriter(address), [run])
    assert natives(address, project).keys() == before.keys()
    assert listed(address, project) == {"c" * 32: str(run.key)}


def test_a_run_of_the_server_itself_is_never_replaced(address: str, project: str) -> None:
    client = MlflowClient(address)
    there = client.create_run(client.create_experiment(project)).info.run_id
    with pytest.raises(IntegrityError, match="was not written by Trackbridge"):
        store(RestWriter(address), [born(project, there)])
    assert list(natives(address, project)) == [there]


@pytest.mark.parametrize("moment", ["_put_away_leftover", "_agree"])
def test_of_two_live_processes_that_write_the_same_run_one_run_is_left(
    address: str, project: str, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second finds the first's unfinished run; the first shows it while the second tidies."""
    run = born(project, uuid.uuid4().hex)
    show, hooked = Writing.show, getattr(Writing, moment)
    first: list[Callable[[], None]] = []

    def interrupted(self: Writing, old: Any) -> None:
        if not first:
            first.append(lambda: show(self, old))
            store(RestWriter(address), [run])
        else:
            show(self, old)

    def meanwhile(self: Writing, *args: Any) -> None:
        if len(first) == 1:
            first.append(lambda: None)
            first[0]()
        hooked(self, *args)

    monkeypatch.setattr(Writing, "show", interrupted)
    monkeypatch.setattr(Writing, moment, meanwhile)
    store(RestWriter(address), [run])
    assert len(first) == 2
    assert len(natives(address, project)) == 1
    assert listed(address, project) == {run.key.run_id: str(run.key)}


def test_a_run_that_was_put_away_in_the_middle_is_to_be_written_again(
    address: str, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = born(project, uuid.uuid4().hex)
    finish, seen = Writing._finish, []

    def interrupted(self: Writing, *args: Any) -> None:
        if not seen:
            seen.append(1)
            store(RestWriter(address), [run])
        finish(self, *args)

    monkeypatch.setattr(Writing, "_finish", interrupted)
    with pytest.raises(TransientError, match="another Trackbridge"):
        store(RestWriter(address), [run])
    store(RestWriter(address), [run])
    assert listed(address, project) == {run.key.run_id: str(run.key)}
    assert len(natives(address, project)) == 1


@pytest.mark.parametrize("parent_first", [True, False])
@pytest.mark.parametrize("deleted", [True, False])
def test_children_hang_below_their_parent_in_whatever_order_they_come(
    address: str, project: str, *, parent_first: bool, deleted: bool
) -> None:
    above, below = uuid.uuid4().hex, uuid.uuid4().hex
    parent = born(project, above)
    child = born(project, below, parent_run_id=above, deleted=deleted)
    child.tables["tags"] = [{"key": PARENT, "value": above}]
    for run in [parent, child] if parent_first else [child, parent]:
        store(RestWriter(address), [run])
    store(RestWriter(address), [parent])  # under another id on the server
    ours = {run.data.tags[ID_TAG]: run for run in natives(address, project).values()}
    native = ours[below]
    assert native.data.tags[PARENT] == ours[above].info.run_id
    assert native.info.lifecycle_stage == ("deleted" if deleted else "active")
    reader = RestWriter(address)
    (row,) = (
        row
        for batch in reader.read_runs([reader.target(child.key)], ["runs"])
        for row in batch.data.to_pylist()
    )
    assert row["parent_run_id"] == above and row["deleted"] is deleted


def test_a_run_whose_parent_is_no_id_is_written_all_the_same(address: str, project: str) -> None:
    run = born(project, uuid.uuid4().hex)
    run.tables["tags"] = [{"key": PARENT, "value": "it's"}]
    store(RestWriter(address), [run])
    (native,) = natives(address, project).values()
    assert native.data.tags[PARENT] == "it's"


def test_a_run_without_an_end_stays_without(address: str, project: str) -> None:
    store(RestWriter(address), [born(project, "f" * 32, status="finished", ended=None)])
    (native,) = natives(address, project).values()
    assert native.info.status == "FINISHED"
    assert native.info.end_time is None


def test_leaving_without_commit_sends_nothing(address: str, project: str) -> None:
    writer, run = RestWriter(address), born(project, "0" * 32)
    with writer.open([run.key]) as sink:
        deliver(writer, sink, [run])
    assert MlflowClient(address).get_experiment_by_name(project) is None


def test_the_run_that_holds_the_files_of_the_store_does_not_look_as_if_it_ran(
    address: str,
) -> None:
    rest_store.make(Server(address))
    client = MlflowClient(address)
    experiment = client.get_experiment_by_name(rest_store.NAME)
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED" and run.info.end_time >= run.info.start_time
