"""Runs on a server that are shown while they go on, and written whole under the same id."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from typing import Any

import growing
import pytest
from mlflow.entities import Run, ViewType
from mlflow.tracking import MlflowClient

import trackbridge
from trackbridge.adapter import Query
from trackbridge.errors import IntegrityError
from trackbridge.testing import MadeRun
from trackbridge.testing.extending import add, extend
from trackbridge.testing.made import store
from trackbridge_adapters.mlflow import rest_log
from trackbridge_adapters.mlflow.entities import ABANDONED_TAG, KEY_TAG, PARENT, PENDING_TAG
from trackbridge_adapters.mlflow.rest_runs import Writing
from trackbridge_adapters.mlflow.rest_server import Json, Server
from trackbridge_adapters.mlflow.rest_write import RestWriter


@pytest.fixture
def address(request: pytest.FixtureRequest) -> str:
    """That of the server that stores artifacts itself, unless a test names another."""
    found: str = request.getfixturevalue(getattr(request, "param", "proxied"))
    return found


@pytest.fixture
def project() -> str:
    """An experiment that no other test has."""
    return f"project {uuid.uuid4().hex[:8]}"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the servers are asked from now on."""
    paths: list[str] = []
    call = Server._call

    def noted(self: Server, method: str, path: str, **kwargs: Any) -> Json:
        paths.append(path)
        return call(self, method, path, **kwargs)

    monkeypatch.setattr(Server, "_call", noted)
    return paths


def natives(address: str, project: str) -> list[Run]:
    """Runs of an experiment, but for what is left of old ones, as MLflow's client sees them."""
    client = MlflowClient(address)
    experiment = client.get_experiment_by_name(project)
    runs = client.search_runs([experiment.experiment_id], "", ViewType.ALL)
    return [run for run in runs if ABANDONED_TAG not in run.data.tags]


def only(address: str, project: str) -> Run:
    (run,) = natives(address, project)
    return run


def listed(address: str, project: str) -> list[tuple[str, str | None]]:
    infos = RestWriter(address).list_runs(Query(projects=[project]))
    return [(str(info.key), info.status) for info in infos]


@pytest.mark.parametrize("address", ["proxied", "direct"], indirect=True)
def test_a_run_that_grew_in_rounds_is_the_same_as_one_that_came_whole(
    address: str, project: str
) -> None:
    growing.grow(RestWriter(address), project)
    before = only(address, project)
    growing.check_natively(MlflowClient(address), before.info.run_id)
    assert (before.info.status, before.info.end_time) == ("RUNNING", None)
    source = growing.source(project)
    assert trackbridge.migrate(source, f"mlflow:{address}").verified
    after = only(address, project)
    growing.check_natively(MlflowClient(address), after.info.run_id)
    assert after.info.run_id == before.info.run_id
    assert after.info.artifact_uri == before.info.artifact_uri
    assert after.info.status == "FINISHED" and after.info.end_time is not None
    assert trackbridge.migrate(source, f"mlflow:{address}").skipped == 1


def test_the_same_batch_sent_twice_counts_once(address: str, project: str) -> None:
    client = MlflowClient(address)
    run_id = client.create_run(client.create_experiment(project)).info.run_id
    values = [0.5, 0.5, "NaN", "NaN", 1.7976931348623157e308]
    metrics = [{"key": "loss", "value": value, "timestamp": 1, "step": 1} for value in values]
    for _ in "ab":
        rest_log.log_batch(Server(address), {"run_id": run_id, "metrics": metrics})
    assert len(client.get_metric_history(run_id, "loss")) == 3


def test_a_round_takes_one_request(address: str, project: str, asked: list[str]) -> None:
    writer, run = RestWriter(address), growing.grown(project)
    run.contents.clear()
    run.tables["files"].clear()
    extend(writer, [run], 0, 40)
    asked.clear()
    extend(writer, [run], 40, 90)
    assert asked == ["mlflow/runs/log-batch"]


def test_a_param_keeps_its_first_value_until_the_run_is_written_whole(
    address: str, project: str
) -> None:
    for number, rate in enumerate(("0.3", "0.2")):
        extend(RestWriter(address), [growing.grown(project, rate=rate)], number, number + 1)
    run = only(address, project)
    assert run.data.params == {"rate": "0.3"}
    assert run.data.tags["stage"] == "0.2"
    assert trackbridge.migrate(growing.source(project), f"mlflow:{address}").verified
    after = only(address, project)
    assert after.data.params == {"rate": "0.1"}
    growing.check_natively(MlflowClient(address), after.info.run_id)


def test_a_param_that_somebody_else_has_set_meanwhile_does_not_stop_a_round(
    address: str, project: str
) -> None:
    writer, run = RestWriter(address), growing.grown(project)
    del run.tables["params"][:]
    extend(writer, [run], 0, 1)
    MlflowClient(address).log_param(only(address, project).info.run_id, "rate", "7")
    run.tables["params"] = [
        {"key": name, "value": "1", "type": "string"} for name in ("rate", "new")
    ]
    extend(writer, [run], 1, 5)
    shown = only(address, project)
    assert shown.data.params == {"rate": "7", "new": "1"}
    assert len(shown.data.metrics) == 5


def test_a_tag_that_the_run_no_longer_has_is_gone_when_it_is_written_whole(
    address: str, project: str
) -> None:
    run = growing.grown(project)
    run.tables["tags"].append({"key": "gone", "value": "1"})
    extend(RestWriter(address), [run], 0, 50)
    before = only(address, project)
    assert trackbridge.migrate(growing.source(project), f"mlflow:{address}").verified
    after = only(address, project)
    assert after.info.run_id == before.info.run_id
    assert "gone" not in after.data.tags and KEY_TAG in after.data.tags


def test_a_run_that_has_ended_and_goes_on_is_running_again(address: str, project: str) -> None:
    extend(RestWriter(address), [growing.grown(project)], 0, 50)
    before = only(address, project).info.run_id
    for count in (50, 100):
        assert trackbridge.migrate(growing.source(project, count), f"mlflow:{address}").verified
        assert only(address, project).info.status == "FINISHED"
        extend(RestWriter(address), [growing.grown(project)], count - 10, count + 10)
        assert only(address, project).info.status == "RUNNING"
    assert only(address, project).info.run_id == before
    growing.check_natively(MlflowClient(address), before)


@pytest.mark.parametrize("change", ["point", "file", "start"])
def test_a_run_that_has_what_it_is_not_to_have_is_made_anew(
    change: str, address: str, project: str
) -> None:
    run = growing.grown(project)
    if change == "point":
        run.tables["metrics"][0]["value"] = 77.0
    elif change == "file":
        run.add_file("", "gone.txt", b"gone")
    else:
        run.tables["runs"][0]["started"] = None
    extend(RestWriter(address), [run], 0, 50)
    before = only(address, project).info.run_id
    store(RestWriter(address), [growing.grown(project)])
    after = only(address, project)
    assert after.info.run_id != before and PENDING_TAG not in after.data.tags
    growing.check_natively(MlflowClient(address), after.info.run_id)


def test_a_run_that_a_user_deleted_is_not_added_to(address: str, project: str) -> None:
    writer, client = RestWriter(address), MlflowClient(address)
    extend(writer, [growing.grown(project)], 0, 5)
    client.delete_run(only(address, project).info.run_id)
    with pytest.raises(IntegrityError, match="active"):
        extend(writer, [growing.grown(project)], 5, 10)
    client.restore_run(only(address, project).info.run_id)
    extend(writer, [growing.grown(project)], 5, 10)
    assert len(natives(address, project)) == 1


def test_a_run_that_another_process_has_written_anew_is_found_again(
    address: str, project: str
) -> None:
    writer, run = RestWriter(address), growing.grown(project)
    extend(writer, [growing.grown(project, rate="0.9")], 0, 5)
    old = only(address, project).info.run_id
    store(RestWriter(address), [run])
    assert only(address, project).info.run_id != old
    extend(writer, [run], 50, 100)
    growing.check_natively(MlflowClient(address), only(address, project).info.run_id)


def test_a_run_that_is_written_whole_while_a_round_is_gathered_is_found_again(
    address: str, project: str
) -> None:
    writer, run = RestWriter(address), growing.grown(project)
    extend(writer, [run], 0, 40)
    before = only(address, project).info.run_id
    with writer.extend([run.key]) as sink:
        add(writer, sink, [run], 40, 100)
        store(writer, [run])
        sink.commit()
    assert only(address, project).info.run_id == before
    growing.check_natively(MlflowClient(address), before)


def test_two_processes_that_begin_the_same_run_leave_one(
    address: str, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, seen = Server.create, []

    def interrupted(self: Server, path: str, body: Json) -> Json:
        if not seen:
            seen.append(1)
            extend(RestWriter(address), [growing.grown(project)], 0, 50)
        return create(self, path, body)

    monkeypatch.setattr(Server, "create", interrupted)
    extend(RestWriter(address), [growing.grown(project)], 0, 50)
    monkeypatch.undo()
    assert len(listed(address, project)) == 1
    assert trackbridge.migrate(growing.source(project), f"mlflow:{address}").verified
    growing.check_natively(MlflowClient(address), only(address, project).info.run_id)


def test_a_child_hangs_below_a_parent_that_goes_on(address: str, project: str) -> None:
    writer, parent, child = RestWriter(address), growing.grown(project), growing.grown(project)
    child.key = parent.key._replace(run_id="child")
    child.tables["runs"][0]["parent_run_id"] = parent.key.run_id
    extend(writer, [parent], 0, 5)
    above = only(address, project).info.run_id
    extend(writer, [child], 0, 5)
    (below,) = (run for run in natives(address, project) if run.info.run_id != above)
    assert below.data.tags[PARENT] == above


# What breaks off


def killed(*_: Any) -> None:
    raise SystemExit("killed")


STEPS = ["_fill", "_missing", "_send", "_finish", "show"]


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_in_the_middle_leaves_a_run_that_still_counts_as_running(
    step: str, address: str, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = growing.grown(project)
    run.tables["tags"].append({"key": "gone", "value": "1"})
    extend(RestWriter(address), [run], 0, 50)
    before = only(address, project).info.run_id
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(Writing, step, killed)
        store(RestWriter(address), [growing.grown(project)])
    assert listed(address, project) == [(str(run.key), "running")]
    assert trackbridge.migrate(growing.source(project), f"mlflow:{address}").verified
    after = only(address, project)
    assert (after.info.run_id, after.info.status) == (before, "FINISHED")
    growing.check_natively(MlflowClient(address), before)


@pytest.mark.parametrize("number", range(4))
def test_a_kill_between_any_two_requests_leaves_nothing_that_looks_done(
    number: int, address: str, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = growing.grown(project)
    run.tables["tags"].append({"key": "gone", "value": "1"})
    extend(RestWriter(address), [run], 0, 50)
    before = only(address, project).info.run_id
    post, sent = Server.post, []

    def broken(self: Server, path: str, body: Json, method: str = "POST") -> Json:
        if "search" not in path:
            sent.append(path)
            if len(sent) > number:
                raise SystemExit("killed")
        return post(self, path, body, method)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(Server, "post", broken)
        store(RestWriter(address), [growing.grown(project)])
    assert listed(address, project) == [(str(run.key), "running")]
    assert trackbridge.migrate(growing.source(project), f"mlflow:{address}").verified
    assert only(address, project).info.run_id == before
    growing.check_natively(MlflowClient(address), before)


def test_two_processes_that_go_on_with_a_run_at_once_leave_one(address: str, project: str) -> None:
    extend(RestWriter(address), [growing.grown(project)], 0, 50)
    before = only(address, project).info.run_id
    start, errors = threading.Barrier(2), []

    def write() -> None:
        start.wait()
        try:
            store(RestWriter(address), [growing.grown(project)])
        except Exception as error:  # noqa: BLE001 - told below
            errors.append(error)

    threads = [threading.Thread(target=write) for _ in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert listed(address, project) == [(str(growing.grown(project).key), "finished")]
    growing.check_natively(MlflowClient(address), only(address, project).info.run_id)
    assert only(address, project).info.run_id == before


@pytest.mark.parametrize("step", [*STEPS, "_agree"])
def test_of_one_that_goes_on_with_a_run_and_one_that_makes_it_anew_one_run_is_left(
    step: str, address: str, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second has another view of the run, so it replaces the one that the first fills."""
    extend(RestWriter(address), [growing.grown(project)], 0, 50)
    hooked: Callable[..., Any] = getattr(Writing, step)
    seen: list[int] = []

    def interrupted(self: Writing, *args: Any) -> Any:
        if not seen:
            seen.append(1)
            store(RestWriter(address), [growing.grown(project, rate="0.7")])
        return hooked(self, *args)

    def write(run: MadeRun) -> None:
        for _ in range(3):  # as the engine does
            try:
                store(RestWriter(address), [run])
            except trackbridge.errors.TransientError:
                continue
            return
        raise AssertionError("never ends")

    monkeypatch.setattr(Writing, step, interrupted)
    write(growing.grown(project))
    monkeypatch.undo()
    assert len(listed(address, project)) == 1
    assert trackbridge.migrate(growing.source(project), f"mlflow:{address}").verified
    growing.check_natively(MlflowClient(address), only(address, project).info.run_id)


def test_an_extension_that_is_left_sends_nothing(
    address: str, project: str, asked: list[str]
) -> None:
    writer, run = RestWriter(address), growing.grown(project)
    with writer.extend([run.key]) as sink:
        asked.clear()
        add(writer, sink, [run], 0, 50)
    assert asked == []
