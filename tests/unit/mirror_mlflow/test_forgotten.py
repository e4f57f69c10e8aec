"""Of the runs that a long program has ended, not all are kept in mind."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from unit.dual.looking import points, read_all

from trackbridge.dual import place
from trackbridge.dual.mirroring import Mirror
from trackbridge_adapters.mlflow.mirror.runs import Runs

STORE = SimpleNamespace(get_experiment=lambda number: SimpleNamespace(name=f"e{number}"))
CLIENT = SimpleNamespace(tracking_uri="sqlite:///nowhere", store=STORE)


def entity(run_id: str) -> Any:
    info = {"run_id": run_id, "experiment_id": 1, "run_name": "n", "user_id": "u"}
    info |= {"status": "RUNNING", "start_time": 1000, "end_time": None}
    info |= {"artifact_uri": "", "lifecycle_stage": "active"}
    return SimpleNamespace(
        info=SimpleNamespace(**info), data=SimpleNamespace(tags={}, params={"lr": "1"})
    )


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Runs:
    monkeypatch.setattr("trackbridge_adapters.mlflow.mirror.runs.REMEMBERED", 1)
    return Runs(Mirror((), tmp_path))


def test_runs_that_are_forgotten_are_kept_whole_and_wait_for_nothing(
    runs: Runs, tmp_path: Path
) -> None:
    kept = []
    for name in ("one", "two"):
        run = runs.begin(CLIENT, entity(name))
        assert run is not None
        run.metrics([("loss", 1.0, 1000, 0)])
        runs.leave(CLIENT, name)
        run.metrics([("loss", 2.0, 2000, 1)])  # as by another thread
        kept.append(weakref.ref(run.run))
        del run
    gc.collect()
    assert [ref() is None for ref in kept] == [True, False]
    found = {ref.run_id: points(tables) for ref, tables in read_all(tmp_path).items()}
    assert found == {name: [(None, 0, 1.0), (None, 1, 2.0)] for name in ("one", "two")}


def test_a_run_that_is_gone_on_with_is_not_read_for_its_rows(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = runs.begin(CLIENT, entity("one"))
    assert first is not None
    first.run.leave()
    monkeypatch.setattr(place, "next_call", None)
    again = Mirror((), first.run.folder.parent).follow(  # type: ignore[union-attr]
        first.run.project, "one", ("mlflow", "", "e1", "one")
    )
    assert again.folder == first.run.folder
