"""Servers of some years ago have no exports, and do not count samples and console lines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wandb_server import Server, client, operations, runs

import trackbridge

NEW = ("parquetHistory", "eventsLineCount", "logLineCount")
"""Fields of runs that came with newer servers."""
LOGGED = """
run = wandb.init(project="p", id="a")
for step in range(5):
    run.log({"loss": step})
run.finish()
"""


def without(node: Callable[..., dict[str, Any]], *names: str) -> Callable[..., dict[str, Any]]:
    """Nodes as an older server has them, which lacks some fields."""
    return lambda *given: {n: field for n, field in node(*given).items() if n not in names}


def test_what_a_server_lacks_is_left_out_and_named(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    client.script(server, LOGGED)
    monkeypatch.setenv("WANDB_API_KEY", server.user.key)
    monkeypatch.setattr(runs, "node", without(runs.node, *NEW))
    report = trackbridge.migrate(f"wandb:{server.address}/team/p", f"archive:{tmp_path}/archive")
    assert report.verified
    assert report.points == 10  # loss and _runtime
    assert sum("does not count them" in text for text in report.damage) == 2


def test_a_server_that_does_not_count_runs_is_read(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    client.script(server, LOGGED)
    monkeypatch.setenv("WANDB_API_KEY", server.user.key)
    monkeypatch.setattr(operations, "_project", without(operations._project, "runCount"))
    report = trackbridge.migrate(f"wandb:{server.address}/team/p", f"archive:{tmp_path}/archive")
    assert (report.verified, report.copied, report.damage) == (True, 1, [])
