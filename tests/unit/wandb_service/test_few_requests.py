"""How the reader gets by with few requests, and what it does where a server gives less."""

from __future__ import annotations

import json
from typing import Any

import pytest
from wandb_server import Server, runs

from trackbridge.adapter import Query, Reader
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
