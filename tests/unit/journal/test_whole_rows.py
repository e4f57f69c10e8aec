"""A row that is told anew as a whole stands for all that was said of it before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trackbridge.adapter import Query
from trackbridge.dual.run import Run
from trackbridge.dual.starting import begin
from trackbridge.dual.values import Item
from trackbridge_adapters.journal.reader import Journals


def logged(folder: Path) -> Run:
    """Two calls of a row, the row as a whole, and a row after it."""
    run, _ = begin("p", "r", (), folder, kind=Run)
    run.append(("a", "b"), (1.0, 2.0), [], 0, 5, 100)
    run.append(("a",), (3.0,), [Item("t", "text", '"x"')], 0, 5, 200)
    items = [Item("t", "text", '"x"')]
    told = {"row": 0, "step": 5, "at": 200, "keys": ["b", "a"], "values": [2.0, 3.0]}
    run.tell("whole", **told, items=items, again=4)
    run.append(("a",), (4.0,), [], 1, 6, 300, True)
    return run


def read(folder: Path) -> set[tuple[str, str, int, int, int]]:
    reader = Journals(str(folder))
    [info] = reader.list_runs(Query())
    found = set()
    for batch in reader.read_runs([info.ref], {"metrics", "series"}):
        for row in batch.data.to_pylist():
            at = round(row["time"].timestamp() * 1e6)
            found.add((row["key"], str(row["value"]), row["row"], row["step"], at))
    return found


def test_it_counts_instead_of_the_calls_before(tmp_path: Path) -> None:
    logged(tmp_path).finish()
    assert read(tmp_path) == {
        ("a", "3.0", 0, 5, 200),
        ("b", "2.0", 0, 5, 200),
        ("t", '"x"', 0, 5, 200),
        ("a", "4.0", 1, 6, 300),
    }


def test_points_are_counted_once(tmp_path: Path) -> None:
    logged(tmp_path).finish()
    [info] = Journals(str(tmp_path)).list_runs(Query())
    assert info.points == 4


def test_a_round_gives_the_calls_as_they_came(tmp_path: Path) -> None:
    logged(tmp_path).finish()
    reader = Journals(str(tmp_path))
    [info] = reader.list_runs(Query())
    batches, position = reader.read_added(info.ref, "")
    values = [row["value"] for b in batches if b.table == "metrics" for row in b.data.to_pylist()]
    assert sorted(values) == [1.0, 2.0, 3.0, 4.0]
    assert json.loads(position)


def test_one_that_is_no_whole_row_is_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = logged(tmp_path)
    monkeypatch.setattr("trackbridge.dual.run.is_sound", lambda record: True)
    run.tell("whole", row=1, step=6, keys=["a"], values=[], items=[], again=1)
    run.finish()
    assert ("a", "4.0", 1, 6, 300) in read(tmp_path)
