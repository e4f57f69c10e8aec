"""A run with everything that is logged, in rounds out of its journal, keeps its id on a server."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from wandb_server import Server

import trackbridge
from trackbridge.adapter import Writer
from trackbridge.dual.delivery import Delivery
from trackbridge.dual.followed import Followed
from trackbridge.dual.frames import NONE
from trackbridge.dual.parity import Parity, parity
from trackbridge.dual.run import Run
from trackbridge.dual.starting import begin
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


class Mirrored:
    """A run as the mirror of MLflow writes it, and its delivery to a server."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.store = f"wandb:{server.address}/team/p"
        key = ("mlflow", "", "p", "0123456789abcdef")
        self.run, _ = begin("p", key[-1], (), folder, key=key, kind=Followed)
        self.run.set(status="running", name="mirrored")
        self._runs = server.state.projects
        self.delivery, self._writer = self._begin()
        self.count = 0

    def _begin(self) -> tuple[Delivery, Writer]:
        folder = self.run.folder
        assert folder is not None
        return Delivery(folder, self.store), open_writer(self.store)

    def log(self, step: int, *keys: str) -> None:
        for key in keys:
            self.count += 1
            at = 1_700_000_000_000_000 + 1000 * self.count
            self.run.append((key,), (float(self.count),), (), NONE, step, at)

    def round(self) -> list[int]:
        """The steps that are shown after it, by a forwarder that has just begun."""
        self.delivery, self._writer = self._begin()
        self.delivery.round(self._writer)
        assert self.delivery.standing.state == "live", self.delivery.standing
        return self.steps()

    def end(self) -> list[int]:
        """The same once it has ended, and is proven."""
        self.run.set(status="finished")
        self.run.leave()
        self.delivery.close()
        assert self.delivery.standing.state == "done", self.delivery.standing
        return self.steps()

    @property
    def names(self) -> list[str]:
        return [name for name in self._runs["team", "p"].runs if name != "trackbridge-store"]

    def steps(self) -> list[int]:
        [name] = self.names
        history = self._runs["team", "p"].runs[name].history
        return [json.loads(line)["_step"] for line in history]

    def parity(self) -> Parity:
        [found] = parity([self.delivery.folder], [self.store])
        return found


@pytest.fixture
def mirrored(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Mirrored:
    monkeypatch.setenv("WANDB_API_KEY", server.user.key)
    monkeypatch.setenv("TRACKBRIDGE_STATE", str(tmp_path / "state"))
    return Mirrored(server, tmp_path / "journals")


def test_a_run_without_rows_is_shown_by_its_steps_and_keeps_its_id(mirrored: Mirrored) -> None:
    for step in range(0, 50, 5):
        mirrored.log(step, "loss", "accuracy")
        assert mirrored.round() == list(range(0, step, 5))
    names, found = mirrored.names, mirrored.parity()
    assert (found.verdict, found.sent, found.arrived, found.waiting) == ("goes on", 20, 18, 2)
    assert mirrored.end() == list(range(0, 50, 5))
    assert mirrored.names == names
    assert mirrored.parity().verdict == "equal"


def test_late_values_stop_nothing_and_have_the_run_made_anew_in_the_end(mirrored: Mirrored) -> None:
    mirrored.log(10, "loss")
    mirrored.log(11, "loss")
    assert mirrored.round() == [10]
    mirrored.log(0, "test")
    mirrored.log(12, "loss")
    assert mirrored.round() == [10, 11]
    [name], found = mirrored.names, mirrored.parity()
    assert (found.verdict, found.sent, found.arrived, found.waiting) == ("goes on", 4, 2, 2)
    assert found.why.startswith("1 values came late")
    assert mirrored.end() == [0, 10, 11, 12]
    assert mirrored.names == [f"{name}-r2"]
    assert mirrored.parity().verdict == "equal"


def test_a_run_that_was_made_anew_is_gone_on_with(mirrored: Mirrored) -> None:
    mirrored.log(10, "loss")
    mirrored.log(11, "loss")
    mirrored.round()
    mirrored.log(0, "test")
    mirrored.round()
    mirrored.end()
    names = mirrored.names
    mirrored.run, _ = begin(
        "p", "0123456789abcdef", (), mirrored.delivery.folder.parent, kind=Followed
    )
    mirrored.run.set(status="running")
    mirrored.log(12, "loss")
    mirrored.log(13, "loss")
    assert mirrored.round() == [0, 10, 11, 12]
    assert mirrored.end() == [0, 10, 11, 12, 13]
    assert mirrored.names == names
    assert mirrored.parity().verdict == "equal"


def test_values_of_one_step_are_shown_in_the_end_alone(mirrored: Mirrored) -> None:
    for _ in range(3):
        mirrored.log(0, "loss")
        assert mirrored.round() == []
    found = mirrored.parity()
    assert (found.verdict, found.sent, found.arrived) == ("goes on", 3, 0)
    assert len(mirrored.end()) == 3
    assert mirrored.parity().verdict == "equal"
