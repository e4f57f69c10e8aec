"""Runs of any kind go to the service and come back whole, many in one upload."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from wandb_server import Server, started

from trackbridge.testing import strategies
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


def made_runs() -> list[MadeRun]:
    """Runs with projects of their own: in one, a collection of artifacts has one type."""
    runs: list[MadeRun] = []

    @settings(max_examples=EXAMPLES, phases=[Phase.generate], suppress_health_check=[*HealthCheck])
    @given(run=strategies.made_runs())
    def gather(run: MadeRun) -> None:
        key = run.key._replace(project=f"{run.key.project[:40]}{len(runs)}")
        runs.append(replace(run, key=key))

    gather()
    return runs


class Trip(RoundTripContract):
    """The part of the contract that is used here."""

    adapter = ADAPTER


def test_any_runs_come_back_whole(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.add_entity("anything")
    monkeypatch.setenv("WANDB_API_KEY", server.user.key)
    Trip().check_whole(f"{server.address}/anything", made_runs())
