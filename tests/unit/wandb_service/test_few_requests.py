"""How the reader gets by with few requests, and what it does where a server gives less."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from wandb_server import Server, runs

from trackbridge.adapter import Query, Reader
from trackbridge.errors import TransientError
from trackbridge.registry import open_reader

RUNS, ROWS = 30, 12


@pytest.fixture
def reader(server: Server, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """Of a project with runs that have history, system metrics, console lines and files."""
    monkeypatch.setenv("WANDB_API_KEY", server.user.key)
    for number in range(RUNS):
        given: dict[str, Any] = {"name": f"run{number}", "modelName": "p", "entityName": "team"}
        run, _ = runs.upsert(server.state, server.user, given)
        run.history += [json.dumps({"_step": s, "_timestamp": s, "loss": s}) for s in range(ROWS)]
        run.events += [json.dumps({"_timestamp": 5.0, "system.cpu": 1.0})] * 3
        run.console |= {at: f"2026-01-01T00:00:00 line {at}" for at in range(5)}
        run.state = "finished"
    return open_reader(f"wandb:{server.address}/team/p")


def points(reader: Reader) -> int:
    refs = [info.ref for info in reader.list_runs(Query())]
    assert len(refs) == RUNS
    return sum(b.data.num_rows for b in reader.read_runs(refs) if b.table == "metrics")


def test_all_runs_of_a_page_share_their_requests(server: Server, reader: Reader) -> None:
    server.faults.forget()
    assert points(reader) == RUNS * (ROWS + 3)
    assert server.faults.counts() == {"TrackbridgeRuns": 2, "TrackbridgeStreams": 1}


def test_a_server_that_gives_fewer_runs_at_once_is_asked_for_fewer(
    server: Server, reader: Reader
) -> None:
    server.faults.page_limit = 7
    server.faults.forget()
    assert points(reader) == RUNS * (ROWS + 3)
    assert server.faults.counts()["TrackbridgeRuns"] < 4 + 2 * RUNS / 6 + 2


def test_rows_beside_an_export_are_live(server: Server, reader: Reader) -> None:
    server.export("team/p/run3", 5)
    server.export("team/p/run4")
    assert points(reader) == RUNS * (ROWS + 3)


def test_a_history_that_is_exported_while_it_is_read_is_read_again(
    server: Server, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    refs = [info.ref for info in reader.list_runs(Query())]
    at_request(server, monkeypatch, "TrackbridgeStreams", 1, lambda: server.export("team/p/run4"))
    with pytest.raises(TransientError, match="run4 was exported while it was being read"):
        list(reader.read_runs(refs))
    found = [b for b in reader.read_runs(refs) if b.table in ("metrics", "runs")]
    assert sum(b.data.num_rows for b in found if b.table == "metrics") == RUNS * (ROWS + 3)
    assert not any("damage" in str(b.data["extra"]) for b in found if b.table == "runs")


def test_a_run_that_is_deleted_while_the_list_is_read_hides_no_other(
    server: Server, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.faults.page_limit = 7
    project = server.state.projects["team", "p"].runs
    at_request(server, monkeypatch, "TrackbridgeRuns", 4, lambda: project.pop("run0"))
    found = {info.ref.run_id for info in reader.list_runs(Query())}
    assert found >= project.keys()


def at_request(
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
    number: int,
    then: Callable[[], object],
) -> None:
    """Something happens on the server before a request is answered."""
    usual, seen = server.faults.next, list[str]()

    def following(name: str, given: Any) -> Any:
        seen.append(name)
        if name == operation and seen.count(name) == number:
            then()
        return usual(name, given)

    monkeypatch.setattr(server.faults, "next", following)


def test_a_long_history_is_read_in_parts(
    server: Server, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trackbridge_adapters.wandb.service.streams.LINES", 10)
    server.faults.forget()
    assert points(reader) == RUNS * (ROWS + 3)
    assert server.faults.counts()["TrackbridgeHistory"] >= RUNS


def test_rows_that_a_server_counts_and_does_not_give_are_damage(
    server: Server, reader: Reader
) -> None:
    server.run("team/p/run7").history[4] = ""
    refs = [info.ref for info in reader.list_runs(Query())]
    found = [row for b in reader.read_runs(refs, ["runs", "metrics"]) for row in b.data.to_pylist()]
    [damaged] = [row for row in found if "damage" in (row.get("extra") or "")]
    assert damaged["run_id"] == "run7"
    assert f"counts {ROWS} rows and gives {ROWS - 1}" in damaged["extra"]
