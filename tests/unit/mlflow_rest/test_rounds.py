"""A run with everything that is logged, in rounds out of its journal, keeps its id on a server."""

from __future__ import annotations

import math
import uuid
from pathlib import Path

import numpy as np
import pytest
from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient

import trackbridge
from trackbridge.dual.delivery import Delivery
from trackbridge.dual.run import Run
from trackbridge.registry import open_writer
from trackbridge_adapters.mlflow.entities import ABANDONED_TAG

ROUNDS, STEPS = 5, 20


def log(run: Run, step: int, *, is_rich: bool) -> None:
    value = {0: math.nan, 1: math.inf}.get(step % 7, step / 7)
    run.log(
        {"loss": value, "accuracy [top 1]?": step / 100, "is good": step % 2 == 0, "k" * 300: 1.0}
    )
    if is_rich:
        run.log({"text": f"step {step}", "weights": np.arange(step + 10.0), "late": 1.0}, step=step)
        run.log({"image": np.zeros((4, 4, 3), np.uint8)})


@pytest.mark.parametrize("is_rich", [False, True])
def test_a_run_that_is_delivered_in_rounds_keeps_its_id_and_is_proven(
    proxied: str, tmp_path: Path, *, is_rich: bool
) -> None:
    project, store = f"project {uuid.uuid4().hex[:8]}", f"mlflow:{proxied}"
    run = trackbridge.start(project, "named", {"lr": 0.1}, folder=tmp_path, tags=["a label"])
    assert run.folder is not None
    delivery, writer, seen = Delivery(run.folder, store), open_writer(store), set()
    for number in range(ROUNDS):
        for step in range(number * STEPS, (number + 1) * STEPS):
            log(run, step, is_rich=is_rich)
        if number == 3:
            run.summary["best"] = 0.25
        delivery.round(writer)
        assert delivery.standing.state == "live"
        seen |= natives(proxied, project)
    run.finish()
    delivery.close()
    assert delivery.standing.state == "done"
    assert natives(proxied, project) == seen and len(seen) == 1
    (run_id,) = seen
    client = MlflowClient(proxied)
    assert client.get_run(run_id).info.status == "FINISHED"
    history = client.get_metric_history(run_id, "loss")
    assert len(history) == len({point.step for point in history}) == ROUNDS * STEPS


def natives(address: str, project: str) -> set[str]:
    client = MlflowClient(address)
    experiment = client.get_experiment_by_name(project)
    runs = client.search_runs([experiment.experiment_id], "", ViewType.ALL)
    return {run.info.run_id for run in runs if ABANDONED_TAG not in run.data.tags}
