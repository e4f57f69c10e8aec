"""Journals of runs of another tracker, which says how its runs are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trackbridge.adapter import Query
from trackbridge.dual.frames import NONE, SYSTEM
from trackbridge.dual.mirroring import Mirror
from trackbridge.dual.starting import start
from trackbridge_adapters.journal import ADAPTER

KEY = ("other", "", "p", "r")


def _tables(root: Path) -> dict[str, list[dict[str, Any]]]:
    reader = ADAPTER.reader(str(root), {})
    found: dict[str, list[dict[str, Any]]] = {}
    for info in reader.list_runs(Query()):
        for batch in reader.read_runs([info.ref]):
            found.setdefault(batch.table, []).extend(batch.data.to_pylist())
    return found


def test_a_followed_run_is_as_it_was_last_set(tmp_path: Path) -> None:
    run = Mirror((), tmp_path).follow("p", "r", KEY)
    run.set(status="running")
    run.leave()
    assert _tables(tmp_path)["runs"][0]["status"] == "running"
    run.set(status="killed", ended=1_700_000_000_000_000)
    run.leave()
    [row] = _tables(tmp_path)["runs"]
    assert (row["status"], row["ended"].timestamp()) == ("killed", 1_700_000_000)


def test_what_comes_after_a_followed_run_was_left_is_kept(tmp_path: Path) -> None:
    run = Mirror((), tmp_path).follow("p", "r", KEY)
    run.set(status="finished", ended=1_700_000_000_000_000)
    run.leave()
    run.append(("a",), (1.0,), (), NONE, 0, 0)
    found = _tables(tmp_path)
    assert [row["value"] for row in found["metrics"]] == [1.0]
    assert found["runs"][0]["status"] == "finished"


def test_leaving_a_run_that_said_nothing_writes_nothing(tmp_path: Path) -> None:
    run = Mirror((), tmp_path).follow("p", "r", KEY)
    run.leave()
    assert not list(tmp_path.glob("run-*"))


def test_points_may_be_marked_as_measured(tmp_path: Path) -> None:
    run = Mirror((), tmp_path).follow("p", "r", KEY)
    run.append(("a",), (1.0,), (), NONE, 0, 0, flags=SYSTEM)
    assert [row["system"] for row in _tables(tmp_path)["metrics"]] == [True]


def test_a_run_may_be_marked_as_deleted(tmp_path: Path) -> None:
    run = Mirror((), tmp_path).follow("p", "r", KEY)
    run.set(deleted=True)
    reader = ADAPTER.reader(str(tmp_path), {})
    assert [info.deleted for info in reader.list_runs(Query())] == [True]
    assert list(reader.list_runs(Query(include_deleted=False))) == []
    run.set(deleted=False)
    assert [info.deleted for info in reader.list_runs(Query())] == [False]


def test_a_tag_has_the_value_that_it_was_last_given(tmp_path: Path) -> None:
    with start("p", folder=tmp_path) as run:
        run.set_tags({"a": 1})
        run.set_tags({"a": 2})
        run.set_tags(["a", "b"])
    tags = [(row["key"], row["value"]) for row in _tables(tmp_path)["tags"]]
    assert sorted(tags, key=str) == [("a", "2"), ("a", None), ("b", None)]
