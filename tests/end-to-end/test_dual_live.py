"""A run is seen in both trackers while it goes on, and stays the same run when it has ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dual_logging import Training
from mlflow import MlflowClient
from mlflow_servers import direct
from mlflow_servers import server as mlflow_server
from wandb_server import Server, started

TRAIN = """
import sys, trackbridge
run = trackbridge.start("live", "a run", {"lr": 0.1, "net": {"depth": 3}}, to=sys.argv[1:])
print(run.id, flush=True)
for part in range(3):
    for i in range(50):
        run.log({"loss": 1.0 / (run.step + 1), "acc": float("nan") if i == 7 else i / 7})
    run.log({"picture": trackbridge.Histogram([1.0, 2.0, 2.0])}, commit=False)
    run.log({"text": "done", "flag": True, "big": 2**60})
    input()
run.summary["best"] = 0.5
run.finish()
"""
ROWS = 51


@pytest.fixture
def mlflow(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "mlflow").mkdir()
    with mlflow_server(tmp_path / "mlflow", *direct(tmp_path / "mlflow")) as address:
        yield address


@pytest.fixture
def wandb(tmp_path: Path) -> Iterator[Server]:
    with started(tmp_path / "wandb") as found:
        yield found


def until(seen: Callable[[], object], expected: object) -> None:
    end = time.monotonic() + 90
    while (found := seen()) != expected:
        assert time.monotonic() < end, found
        time.sleep(0.3)


def test_a_run_is_seen_in_both_while_it_goes_on_and_keeps_its_ids(
    trained: Training, mlflow: str, wandb: Server
) -> None:
    from wandb.apis.public import Api

    to = [f"mlflow:{mlflow}", f"wandb:{wandb.user.name}/live"]
    process = trained.begin(TRAIN, *to)
    assert process.stdin is not None and process.stdout is not None
    process.stdout.readline()
    client = MlflowClient(mlflow)

    def in_mlflow() -> tuple[str, int] | None:
        experiment = client.get_experiment_by_name("live")
        runs = client.search_runs([experiment.experiment_id]) if experiment else []
        if not runs:
            return None
        history = client.get_metric_history(runs[0].info.run_id, "loss")
        return runs[0].info.status, len(history)

    def in_wandb() -> tuple[str, int] | None:
        project = wandb.state.projects.get((wandb.user.name, "live"))
        runs = list(project.runs.values()) if project else []
        return (runs[0].state, len(runs[0].history)) if runs else None

    for part in (1, 2):
        until(in_mlflow, ("RUNNING", 50 * part))
        until(in_wandb, ("running", ROWS * part))
        [first] = client.search_runs([client.get_experiment_by_name("live").experiment_id])  # type: ignore[union-attr]
        process.stdin.write("\n")
        process.stdin.flush()
    process.communicate("\n")
    assert process.returncode == 0
    assert {each.state for each in trained.wait("done")} == {"done"}
    until(in_mlflow, ("FINISHED", 150))
    [last] = client.search_runs([first.info.experiment_id])
    assert last.info.run_id == first.info.run_id
    [run] = Api().runs(f"{wandb.user.name}/live")
    assert (run.state, len(list(run.scan_history()))) == ("finished", 3 * ROWS)
    for store in to:
        trained.check(store)


RESUME = """
import sys, trackbridge
run = trackbridge.start("live", "a run", run_id="again", resume=True, to=sys.argv[1:])
for i in range(30):
    run.log({"loss": 1.0 / (run.step + 1)})
print(run.step, flush=True)
input()
run.finish()
"""


def test_a_run_that_is_resumed_stays_the_same_run_in_both(
    trained: Training, mlflow: str, wandb: Server
) -> None:
    to = [f"mlflow:{mlflow}", f"wandb:{wandb.user.name}/live"]
    client, found = MlflowClient(mlflow), []
    for part in (1, 2, 3):
        process = trained.begin(RESUME, *to)
        assert process.stdout is not None
        assert process.stdout.readline() == f"{30 * part}\n"
        process.communicate("\n")
        assert {each.state for each in trained.wait("done")} == {"done"}
        experiment = client.get_experiment_by_name("live")
        assert experiment is not None
        [run] = client.search_runs([experiment.experiment_id])
        history = client.get_metric_history(run.info.run_id, "loss")
        assert [point.step for point in history] == list(range(30 * part))
        found.append((run.info.run_id, run.info.status))
    assert found == [(found[0][0], "FINISHED")] * 3
    [uploaded] = wandb.state.projects[wandb.user.name, "live"].runs.values()
    assert (uploaded.state, len(uploaded.history)) == ("finished", 90)
    for store in to:
        trained.check(store)
