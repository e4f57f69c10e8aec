"""A run with everything that is logged, in rounds out of its journal, keeps its id on a server."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from wandb_server import Server

import trackbridge
from trackbridge.dual.delivery import Delivery
from trackbridge.dual.run import Run
from trackbridge.registry import open_writer

pytest.importorskip("wandb")
ROUNDS, STEPS = 5, 20


def log(run: Run, step: int, *, is_rich: bool) -> None:
    value = {0: math.nan, 1: math.inf}.get(step % 7, step / 7)
    values = {"loss": value, "deep": {"er": step / 100}, "is good": step % 2 == 0, "k" * 300: 1.0}
    if is_rich:
        values |= {"text": f"step {step}", "weights": np.arange(step + 10.0)}
        values |= {"image": np.zeros((4, 4, 3), np.uint8)} if step % 10 == 3 else {}
    run.log(values)


@pytest.mark.parametrize("is_rich", [False, True])
def test_a_run_that_is_delivered_in_rounds_keeps_its_id_and_is_proven(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, is_rich: bool
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", server.user.key)
    monkeypatch.setenv("TRACKBRIDGE_STATE", str(tmp_path / "state"))
    store = f"wandb:{server.address}/team/p"
    run = trackbridge.start("p", "named", {"lr": 0.1}, folder=tmp_path, tags=["a label"])
    assert run.folder is not None
    delivery, writer = Delivery(run.folder, store), open_writer(store)
    for number in range(ROUNDS):
        for step in range(number * STEPS, (number + 1) * STEPS):
            log(run, step, is_rich=is_rich)
        delivery.round(writer)
        assert delivery.standing.state == "live", delivery.standing
        [shown] = server.state.projects["team", "p"].runs.values()
        assert shown.state == "running"
        assert len(shown.history) >= (number + 1) * STEPS - 1
    run.summary["best"] = 0.25
    run.finish()
    delivery.close()
    assert delivery.standing.state == "done", delivery.standing
    runs = server.state.projects["team", "p"].runs
    assert [found for name, found in runs.items() if name != "trackbridge-store"] == [shown]
    assert shown.state == "finished"
    steps = [json.loads(line)["_step"] for line in shown.history]
    assert steps == list(range(ROUNDS * STEPS))
