"""Runs of any kind go to the service and come back whole, many in one upload."""

from __future__ import annotations

from collections.abc import Iterator

import any_runs
import pytest
from wandb_server import Server, started

from trackbridge.adapter import RunKey
from trackbridge.testing.made import MadeRun
from trackbridge.testing.roundtrip import RoundTripContract
from trackbridge_adapters.wandb.service import ADAPTER

EXAMPLES = 100
"""In one upload, which takes half a second for its start however many runs it has."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pytest.importorskip("wandb")
    with started(tmp_path_factory.mktemp("server")) as found:
        yield found
        assert not found.errors


class Trip(RoundTripContract):
    """The part of the contract that is used here."""

    adapter = ADAPTER


def test_any_runs_come_back_whole(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.add_entity("anything")
    monkeypatch.setenv("WANDB_API_KEY", server.user.key)
    Trip().check_whole(f"{server.address}/anything", any_runs.made(EXAMPLES))


def test_a_name_that_would_lie_within_the_value_of_another_comes_back(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.add_entity("within")
    monkeypatch.setenv("WANDB_API_KEY", server.user.key)
    metrics = [
        {"key": key, "row": 0, "step": 6, "value": value, "system": False}
        for value, key in enumerate(("loss", "loss.x", "", "..", "a.b"))
    ]
    run = MadeRun(RunKey("wandb", "", "names", "r1"), {"metrics": metrics})
    Trip().check_whole(f"{server.address}/within", [run])
