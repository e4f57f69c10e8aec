"""The parity report of a run that an MLflow server shows while it goes on, and in the end."""

from __future__ import annotations

import math
import uuid
from pathlib import Path

import numpy as np
import pytest

import trackbridge
from trackbridge.dual.delivery import Delivery
from trackbridge.dual.parity import parity
from trackbridge.registry import open_writer


@pytest.mark.parametrize("is_rich", [False, True])
def test_nothing_is_wrong_after_each_round_and_in_the_end(
    proxied: str, tmp_path: Path, *, is_rich: bool
) -> None:
    project, store = f"project {uuid.uuid4().hex[:8]}", f"mlflow:{proxied}"
    run = trackbridge.start(project, "named", {"lr": 0.1}, folder=tmp_path, tags=["a label"])
    assert run.folder is not None
    delivery, writer = Delivery(run.folder, store), open_writer(store)
    for _ in range(2):
        for step in range(10):
            odd = {3: math.inf, 4: math.nan}.get(step, step / 7)
            run.log({"loss": odd, "accuracy [top 1]?": step / 100, "k" * 300: 1.0})
            if is_rich:
                run.log(
                    {"text": f"step {step}", "w": np.arange(step + 10.0), "late": 1.0}, step=step
                )
        delivery.round(writer)
        run.log({"loss": 99.0})
        [found] = parity([delivery.folder], [store])
        assert (found.verdict, found.missing, found.differing, found.extra) == (
            "goes on",
            0,
            0,
            0,
        )
        assert found.waiting == 1
    run.finish()
    delivery.close()
    [found] = parity([delivery.folder], [store])
    assert (found.verdict, found.arrived) == ("equal", found.sent)
