"""The forecast tells what a migration would do now: what is in the target already counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from unit.core.faults import Faults
from unit.core.samples import POOR, moment, sample
from unit.core.stores import NOTHING_CHANGES, edit, seed, stores

import trackbridge
from trackbridge.adapter import RunKey, RunRef
from trackbridge.errors import ConfigError, IntegrityError, TransientError
from trackbridge.forecast import Forecast, forecast
from trackbridge_adapters import memory

RUNS = ["run1", "run2", "run3"]


@pytest.fixture
def pair() -> Iterator[tuple[str, str]]:
    """A store with three runs, and an empty one that cannot hold all of them natively."""
    with stores(NOTHING_CHANGES, POOR) as (home, away):
        seed(home, [sample(name) for name in RUNS])
        yield f"memory:{home}", f"memory:{away}"


def counts(found: Forecast) -> tuple[int, int, int, int]:
    return found.runs, found.skipped, found.compared, len(found.failures)


def run_in(address: str, run_id: str) -> memory.Run:
    runs = memory.STORES[address.removeprefix("memory:")].runs.values()
    return next(run for run in runs if run.key.run_id == run_id)


def test_a_second_forecast_moves_nothing(pair: tuple[str, str]) -> None:
    first = forecast(*pair)
    assert counts(first) == (3, 0, 0, 0)
    report = trackbridge.migrate(*pair)
    assert (report.copied, report.points) == (first.runs, first.points)
    second = forecast(*pair)
    assert counts(second) == (0, 3, 0, 0)
    assert (second.points, second.files, second.size) == (0, 0, 0)
    again = trackbridge.migrate(*pair)
    assert second.losses == again.losses


def test_new_and_changed_runs_are_those_that_move(pair: tuple[str, str]) -> None:
    trackbridge.migrate(*pair)
    seed(pair[0].removeprefix("memory:"), [sample("run4")])
    run_in(pair[0], "run2").fingerprint = "another"
    assert counts(forecast(*pair)) == (2, 2, 0, 0)
    report = trackbridge.migrate(*pair)
    assert (report.copied, report.updated, report.skipped) == (1, 1, 2)


def test_runs_without_a_receipt_or_touched_are_compared_first(
    pair: tuple[str, str], state: Path
) -> None:
    trackbridge.migrate(*pair)
    run_in(pair[1], "run1").fingerprint = "touched"
    assert counts(forecast(*pair)) == (0, 2, 1, 0)
    for receipt in state.rglob("*.json"):
        receipt.unlink()
    assert counts(forecast(*pair)) == (0, 0, 3, 0)


def test_runs_that_others_are_taken_for_are_named() -> None:
    late = [{"name": "n", "status": "finished", "started": moment(90_000_000)}]
    with stores(NOTHING_CHANGES, NOTHING_CHANGES, POOR) as names:
        one, other, away = (f"memory:{name}" for name in names)
        seed(names[0], [sample()])
        seed(names[1], [sample(runs=late)])
        trackbridge.migrate(one, away)
        foreseen = forecast(other, away)
        assert counts(foreseen) == (0, 0, 0, 1)
        assert foreseen.failures == trackbridge.migrate(other, away).failures


def test_a_run_of_somebody_else_in_the_place_of_one_is_named(pair: tuple[str, str]) -> None:
    trackbridge.migrate(*pair)
    other = RunKey("x", "", "p", "somebody's")
    run_in(pair[1], "run2").key = other
    foreseen = forecast(*pair)
    assert counts(foreseen) == (0, 2, 0, 1)
    assert f"is run {other}; take another target" in foreseen.failures[0].error
    assert foreseen.failures == trackbridge.migrate(*pair).failures


def test_damage_is_foretold(pair: tuple[str, str]) -> None:
    key = RunKey("x", "", "p", "run2")
    row = {"name": "n", "status": "finished", "started": moment(0), "deleted": False}
    rows = [{**row, "extra": '{"damage": ["torn"]}'}]
    edit(pair[0].removeprefix("memory:"), "runs", rows, key)
    foreseen = forecast(*pair).damage
    assert "run p/run2: torn" in foreseen
    assert "run p/run1: lost.bin: its bytes are missing, though it is listed" in foreseen
    assert sorted(trackbridge.migrate(*pair).damage) == sorted(foreseen)
    assert sorted(forecast(*pair).damage) == sorted(foreseen)


def test_a_run_that_cannot_be_read_is_a_failure_of_its_own(
    pair: tuple[str, str], wrong: Faults, waits: list[float]
) -> None:
    def broken(refs: Sequence[RunRef], *tables: Any) -> None:
        if any(ref.run_id.endswith("run2") for ref in refs):
            raise IntegrityError("torn")

    wrong.of["read_runs"] = broken
    found = forecast(pair[0].replace("memory:", "faulty:"), pair[1])
    assert [(failure.run, failure.error) for failure in found.failures] == [("p/x//p/run2", "torn")]
    wrong.first("read_runs", TransientError("503"))
    assert forecast(pair[0].replace("memory:", "faulty:"), pair[1]).failures == []


def test_a_store_is_not_moved_to_itself(pair: tuple[str, str]) -> None:
    with pytest.raises(ConfigError, match="the same store"):
        forecast(pair[0], pair[0])


def test_nothing_that_is_meant_is_told() -> None:
    with stores(NOTHING_CHANGES, POOR) as names:
        home, away = (f"memory:{name}" for name in names)
        assert forecast(home, away).advice.startswith("no run of the source is meant")
        assert trackbridge.migrate(home, away).advice == forecast(home, away).advice
        seed(names[0], [sample()])
        foreseen = forecast(home, away, where="metrics.loss > 9")
        assert foreseen.advice.startswith("of 1 none meets the expression")
        assert forecast(home, away).advice == ""
