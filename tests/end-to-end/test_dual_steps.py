"""A program that logs with MLflow is seen in W&B while it trains, without a change to its code."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dual_logging import PATIENCE, ROOT, Training, run_folders, training
from wandb_server import Server, started

from trackbridge.dual import standing

pytest.importorskip("wandb")

PROGRAM = """
import sys, mlflow
mlflow.set_tracking_uri(sys.argv[1])
mlflow.set_experiment("steps")
with mlflow.start_run(run_name="a run"):
    mlflow.log_params({"lr": 0.1, "depth": 3})
    for epoch in range(3):
        for step in range(10 * epoch, 10 * epoch + 10):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
        mlflow.log_metrics({"val/loss": 1 / (epoch + 1), "val/acc": epoch / 3}, step=step)
        print("trained", flush=True)
        input()
    if "final" in sys.argv:
        mlflow.log_metric("test accuracy", 0.9)
        print("tested", flush=True)
        input()
        mlflow.log_metric("loss", 0.01, step=step + 1)
        mlflow.log_metric("loss", 0.01, step=step + 2)
        print("went on", flush=True)
        input()
"""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with started(tmp_path / "server") as found:
        monkeypatch.setenv("WANDB_BASE_URL", found.address)
        monkeypatch.setenv("WANDB_API_KEY", found.user.key)
        yield found


@pytest.fixture
def trained(tmp_path: Path, server: Server) -> Iterator[Training]:
    paths = os.pathsep.join([str(ROOT / "bridge"), str(ROOT / "adapters")])
    with training(tmp_path / "work", TRACKBRIDGE_PATIENCE="300", PYTHONPATH=paths) as found:
        yield found


class Program:
    """A program that `trackbridge run` has begun, and what W&B shows of its run."""

    def __init__(self, trained: Training, server: Server, *arguments: str) -> None:
        self.store = f"wandb:{server.user.name}/steps"
        (trained.folder / "train.py").write_text(PROGRAM)
        code = "from trackbridge.cli import main; main()"
        options = ("run", "--mirror", "mlflow", "--to", self.store, "--", sys.executable)
        database = f"sqlite:///{trained.folder / 'mlflow.db'}"
        self._process = trained.begin(code, *options, "train.py", database, *arguments)
        self._trained, self._server = trained, server

    def says(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def goes_on(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def ends(self) -> None:
        _, err = self._process.communicate("\n", timeout=120)
        assert self._process.returncode == 0, err
        assert {each.state for each in self._trained.wait("done")} == {"done"}

    def shown(self) -> tuple[str, str, list[int]] | None:
        """Id, state and steps of the run in W&B, once it has one."""
        project = self._server.state.projects.get((self._server.user.name, "steps"))
        runs = project.runs if project else {}
        found = [name for name in runs if name != "trackbridge-store"]
        if not found:
            return None
        [name] = found
        history = [json.loads(line)["_step"] for line in runs[name].history]
        return name, runs[name].state, history

    def until_shown(self, steps: list[int]) -> str:
        """Its id, once these steps are shown, and the run as one that goes on."""
        end = time.monotonic() + PATIENCE
        while (found := self.shown()) is None or found[2] != steps:
            assert time.monotonic() < end, found
            time.sleep(0.2)
        assert found[1] == "running"
        return found[0]

    def is_equal(self) -> None:
        self._trained.check(self.store)


def test_steps_are_seen_while_it_trains_and_the_run_keeps_its_id(
    trained: Training, server: Server
) -> None:
    program, names = Program(trained, server), set()
    for epoch in range(3):
        assert program.says() == "trained"
        names.add(program.until_shown(list(range(10 * epoch + 9))))
        if epoch < 2:
            program.goes_on()
    program.ends()
    assert program.shown() == (*names, "finished", list(range(30)))
    program.is_equal()


def test_a_final_metric_of_step_0_stops_nothing_and_is_there_in_the_end(
    trained: Training, server: Server
) -> None:
    program = Program(trained, server, "final")
    for epoch in range(3):
        assert program.says() == "trained"
        name = program.until_shown(list(range(10 * epoch + 9)))
        program.goes_on()
    assert program.says() == "tested"
    [folder] = run_folders(trained)
    program.goes_on()
    assert program.says() == "went on"
    assert program.until_shown(list(range(31))) == name
    [at] = standing.every(folder)
    assert (at.state, at.left) == ("live", 1)
    program.ends()
    assert program.shown() == (f"{name}-r2", "finished", list(range(32)))
    program.is_equal()
