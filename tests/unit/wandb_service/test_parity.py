"""The parity report of a run that a W&B server shows while it goes on, and when it has ended."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from wandb_server import Server

import trackbridge
from trackbridge.dual.delivery import Delivery
from trackbridge.dual.parity import parity
from trackbridge.registry import open_writer

pytest.importorskip("wandb")


@pytest.mark.parametrize("is_rich", [False, True])
def test_nothing_is_wrong_after_each_round_and_in_the_end(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, is_rich: bool
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", server.user.key)
    store = f"wandb:{server.address}/team/p"
    run = trackbridge.start("p", "named", {"lr": 0.1}, folder=tmp_path, tags=["a label"])
    assert run.folder is not None
    delivery, writer = Delivery(run.folder, store), open_writer(store)
    for _ in range(2):
        for step in range(10):
            values = {
                "loss": math.inf if step == 3 else step / 7,
                "deep": {"er": 0.5},
                "k" * 300: 1.0,
            }
            values |= {"text": f"step {step}", "w": np.arange(step + 10.0)} if is_rich else {}
            run.log(values)
        delivery.round(writer)
        run.log({"loss": 99.0})
        [found] = parity([delivery.folder], [store])
        assert (found.verdict, found.missing, found.differing, found.extra) == (
            "goes on",
            0,
            0,
            0,
        )
        assert found.waiting >= 1 and found.arrived
    run.finish()
    delivery.close()
    [found] = parity([delivery.folder], [store])
    assert (found.verdict, found.arrived) == ("equal", found.sent)
    assert found.losses
