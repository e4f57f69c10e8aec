"""Runs of any kind, many at once: for stores where each example by itself would take seconds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from trackbridge.testing import strategies
from trackbridge.testing.made import MadeRun


def made(count: int) -> list[MadeRun]:
    """Runs with projects of their own: in one, a collection of artifacts has one type."""
    runs: list[MadeRun] = []

    @settings(max_examples=count, phases=[Phase.generate], suppress_health_check=[*HealthCheck])
    @given(run=strategies.made_runs())
    def gather(run: MadeRun) -> None:
        key = run.key._replace(project=f"{run.key.project[:40]}{len(runs)}")
        runs.append(replace(run, key=key))

    gather()
    return runs


def by_night(items: Iterable[pytest.Item], contract: str) -> None:
    """Leave the examples one by one, of the contract suite in a module, to the night."""
    for item in items:
        if item.nodeid.startswith(contract) and "test_any_run" in item.name:
            item.add_marker(pytest.mark.nightly)
