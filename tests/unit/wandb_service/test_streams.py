"""How rows and samples of runs are asked for, of servers that cannot give all of them at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from trackbridge_adapters.wandb.service import streams
from trackbridge_adapters.wandb.service.answers import TooMuchError
from trackbridge_adapters.wandb.service.exports import Export
from trackbridge_adapters.wandb.service.histories import Histories
from trackbridge_adapters.wandb.service.node import RunNode
from trackbridge_adapters.wandb.service.pages import Place

PLACE = Place("team", "p")


def run_of(name: str, steps: list[int]) -> RunNode:
    """A run that has nothing but a history."""
    node = {
        "name": name,
        "state": "finished",
        "config": "{}",
        "summaryMetrics": "{}",
        "parquetHistory": None,
        "historyLineCount": len(steps),
        "eventsLineCount": 0,
        "logLineCount": 0,
        "historyKeys": {"lastStep": max(steps)},
    }
    return RunNode(PLACE, node)


class Pages:
    """Gives at most so many rows at once, and of so many runs."""

    def __init__(self, steps: list[int], rows: int, runs: int = 100) -> None:
        self.steps, self.rows, self.runs, self.asked = steps, rows, runs, 0

    def history(self, place: Place, run: str, first: int, beyond: int) -> list[str]:
        self.asked += 1
        found = [step for step in self.steps if first <= step < beyond]
        if len(found) > self.rows:
            raise TooMuchError("too many rows")
        return [json.dumps({"_step": step}) for step in found]

    def streams(self, place: Place, names: list[str], *_: Any, **__: Any) -> Iterator[Any]:
        self.asked += 1
        if len(names) > self.runs:
            raise TooMuchError("too many runs")
        lines = [json.dumps({"_step": step}) for step in self.steps]
        return iter([{"name": name, "history": lines} for name in names])


def test_what_is_too_much_for_runs_together_is_asked_for_in_halves() -> None:
    steps = list(range(5))
    pages: Any = Pages(steps, rows=100, runs=20)
    runs = [run_of(f"run{number}", steps) for number in range(60)]
    found = list(streams.fetched(pages, PLACE, runs, {"history"}))
    assert sorted(each.run.name for each in found) == sorted(run.name for run in runs)
    assert all(len(list(each.history)) == len(steps) for each in found)
    assert pages.asked == 7


def test_after_a_dense_part_of_a_history_far_steps_cost_few_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams, "LINES", 100)
    steps = [*range(1000), 1_000_000]
    pages: Any = Pages(steps, rows=100)
    [found] = streams.fetched(pages, PLACE, [run_of("a", steps)], {"history"})
    assert [json.loads(line)["_step"] for line in found.history] == steps
    assert pages.asked < 60


@pytest.mark.parametrize("line", ["[]", "{broken"])
def test_a_damaged_row_beside_an_export_is_named(line: str) -> None:
    run = run_of("a", [0, 1, 2, 3])
    export = Export(run.ref, None, (), exact=True)
    export.rows, export.last_step = 2, 1
    lines = [json.dumps({"_step": step, "loss": 1.0}) for step in (1, 2)]
    read = streams.Streams(run, history=[*lines, line])
    nobody: Any = None  # is asked for more
    found = Histories(nobody, nobody, "wandb:team/p")._points(read, export)
    points = sum(batch.data.num_rows for batch in found)
    assert points == 1
    assert any("is no JSON object" in text for text in run.damage)
