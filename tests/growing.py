"""A run that grows in rounds, for tests of stores that show it while it does."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone

from mlflow.tracking import MlflowClient

from trackbridge.adapter import Row, RunKey
from trackbridge.optional import Extending
from trackbridge.registry import open_writer
from trackbridge.testing import MadeRun
from trackbridge.testing.extending import extend
from trackbridge.testing.made import deliver

START = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
STEPS = 20
ROUNDS = ((0, 40), (40, 41), (41, 90), (90, 90), (90, 100))
"""Which of the points each round brings, the fourth none."""
LONG = "x" * 300
ODD = "loss [train]?"
VALUES = (math.nan, math.inf, -math.inf, 5e-324, 0.1)


def grown(project: str, *, status: str = "finished", rate: str = "0.1") -> MadeRun:
    """The run as it is in the end: five metrics, in each step in turn, two with unfit names."""
    points: list[Row] = [
        {
            "key": key,
            "step": step,
            "time": START + timedelta(seconds=step),
            "row": step,
            "value": VALUES[step % len(VALUES)] if key == "wild" else step / 7 - number,
            "system": False,
        }
        for step in range(STEPS)
        for number, key in enumerate(("loss", "wild", LONG, ODD, "accuracy"))
    ]
    row = {
        "name": "grown",
        "status": status,
        "started": START,
        "ended": START + timedelta(hours=1),
        "deleted": False,
    }
    tables = {
        "runs": [row],
        "metrics": points,
        "params": [{"key": "rate", "value": rate, "type": "string"}],
        "tags": [{"key": "stage", "value": rate}],
    }
    instance = project  # of a store of its own, or the same run would be in several projects
    key = RunKey("some-kind", instance, project, "grown")
    return MadeRun(key, tables, {("", "notes.txt"): rate.encode(), ("", "a/b.txt"): b"b"})


def grow(writer: Extending, project: str, rate: str = "0.1") -> None:
    """The run in rounds; the third is sent twice, as after an answer that was lost."""
    for first, last in (*ROUNDS[:3], *ROUNDS[2:]):
        extend(writer, [grown(project, rate=rate)], first, last)


def source(project: str, count: int = 100) -> str:
    """The address of a store that has the run, with so many points."""
    name = f"memory:grown {project}"
    writer, run = open_writer(name), grown(project)
    del run.tables["metrics"][count:]
    with writer.open([run.key]) as sink:
        deliver(writer, sink, [run])
        sink.commit()
    return name


def check_natively(client: MlflowClient, native_id: str) -> None:
    """MLflow's own client shows each point once, and the latest of each metric as such."""
    metrics = client.get_run(native_id).data.metrics
    assert len(metrics) == 5
    for key, latest in metrics.items():
        history = client.get_metric_history(native_id, key)
        assert sorted(point.step for point in history) == list(range(STEPS))
        if key == "wild":
            assert sum(math.isnan(point.value) for point in history) == STEPS // len(VALUES)
        assert latest == history[-1].value, key
