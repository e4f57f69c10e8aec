"""What is foretold of a migration to a server, and what comes of it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from wandb_server import Server

import trackbridge
from trackbridge.adapter import RunKey
from trackbridge.forecast import forecast
from trackbridge.registry import open_writer
from trackbridge.testing import samples
from trackbridge.testing.made import MadeRun, deliver

pytest.importorskip("wandb")
NUMBERS = itertools.count()
STORAGE = {"upload", "download", "file"}
"""Requests that no server counts."""


@pytest.fixture
def target(server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("WANDB_API_KEY", server.user.key)
    return f"wandb:{server.address}/team/p"


def store(runs: Sequence[MadeRun]) -> str:
    """A new store with some runs."""
    address = f"memory:forecast-{next(NUMBERS)}"
    writer = open_writer(address)
    with writer.open([run.key for run in runs]) as sink:
        deliver(writer, sink, runs)
        sink.commit()
    return address


def logging(run_id: str, versions: int) -> MadeRun:
    """A run of W&B's with a file of its own, which logged so many versions of an artifact."""
    run = samples.long(run_id, 2)
    run.key = RunKey("wandb", "", "team/p", run_id)
    common = {"collection": f"model-{run_id}", "kind": "model", "direction": "logged"}
    run.tables["artifacts"] = [{**common, "version": f"v{n}"} for n in range(versions)]
    for number in range(versions):
        run.add_file(f"model-{run_id}:v{number}", "weights.bin", f"{run_id} {number}".encode())
    return run


@pytest.mark.parametrize("versions", [0, 6])
def test_about_as_many_calls_are_foretold_as_are_sent(
    server: Server, target: str, versions: int
) -> None:
    source = store([logging(f"run{number}", versions) for number in range(4)])
    foretold = forecast(source, target).api_calls
    server.faults.forget()
    assert trackbridge.migrate(source, target).verified
    counts = server.faults.counts()
    sent = sum(count for what, count in counts.items() if what not in STORAGE)
    assert 0.75 * sent < foretold < 1.25 * sent, counts
