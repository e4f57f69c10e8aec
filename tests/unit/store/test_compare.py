"""What differs between stores and between runs, as a frame."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

import trackbridge
from trackbridge.adapter import Query, RunKey
from trackbridge.testing import MadeRun, samples
from trackbridge.testing.made import store
from trackbridge_adapters import memory

FIXTURES = Path(__file__).parents[3] / "fixtures"
COLUMNS = ["run", "table", "key", "step", "left", "right", "what"]


@pytest.fixture
def source(tmp_path: Path) -> str:
    shutil.copytree(FIXTURES / "mlflow-3.17", tmp_path / "before")
    return str(tmp_path / "before" / "mlflow.db")


@pytest.fixture
def moved(source: str, tmp_path: Path) -> str:
    place = f"mlflow:sqlite:///{tmp_path / 'after' / 'mlflow.db'}"
    report = trackbridge.migrate(source, place, Query(include_deleted=False))
    assert report.verified
    return place


def said(frame: pd.DataFrame) -> list[tuple[object, ...]]:
    plain = frame.astype(object)
    return [tuple(row) for row in plain.where(plain.notna(), None).itertuples(index=False)]


@pytest.fixture
def twin() -> Iterator[str]:
    yield "memory:twin"
    memory.STORES.pop("twin", None)


def test_stores_that_hold_the_same_differ_in_nothing(source: str, moved: str) -> None:
    for target in (moved, trackbridge.open(moved)):
        frame = trackbridge.compare(source, target)
        assert frame.empty and [*frame.columns] == COLUMNS


def test_each_value_that_was_changed_is_a_row(source: str, moved: str) -> None:
    path = moved.partition("///")[2]
    with sqlite3.connect(path) as database:
        run = "SELECT run_uuid FROM runs WHERE name = 'parent'"
        database.execute("UPDATE params SET value = '7' WHERE key = 'factor'")
        (here,) = database.execute(run).fetchone()
        database.execute("INSERT INTO tags VALUES ('team', 'nlp', ?)", [here])
        database.execute("DELETE FROM metrics WHERE key = 'loss' AND run_uuid = ?", [here])
    database.close()
    frame = trackbridge.compare(source, moved)
    assert [*frame.columns] == COLUMNS
    kinds = {name: str(kind) for name, kind in frame.dtypes.items()}
    assert kinds == {
        "run": "category",
        "table": "category",
        "key": "string",
        "step": "Int64",
        "left": "object",
        "right": "object",
        "what": "category",
    }
    rows = [row[1:] for row in said(frame)]
    points = [row for row in rows if row[0] == "metrics"]
    assert ("tags", "team", None, None, "nlp", "only right") in rows
    params = [row for row in rows if row[0] == "params"]
    assert params and all(row[4:] == ("7", "value") for row in params)
    assert points and all(row[1] == "loss" and row[5] == "only left" for row in points)
    assert all(isinstance(row[3], float) for row in points)
    assert not trackbridge.verify(source, moved).holds
    assert trackbridge.compare(source, moved, tables=["series"]).empty


def test_runs_that_one_store_lacks_are_named(source: str, moved: str, twin: str) -> None:
    names = trackbridge.open(source).runs()["name"]
    some = trackbridge.open(source).select(names.index[:2])
    some_ids = [run_id for _, run_id in names.index[:2]]
    report = trackbridge.migrate(source, twin, Query(run_ids=some_ids, include_deleted=False))
    assert report.verified
    assert trackbridge.compare(some, twin).empty
    lacking = trackbridge.compare(source, twin)
    assert set(lacking["what"]) == {"only left"} and len(lacking) == len(names) - 2
    more = trackbridge.compare(twin, source)
    assert set(more["what"]) == {"only right"}


def test_a_deleted_run_of_the_left_store_is_none_that_the_right_one_has_alone(
    source: str, tmp_path: Path
) -> None:
    folder = f"wandb-files:{tmp_path / 'wandb'}"
    assert trackbridge.migrate(source, folder, Query()).verified
    assert trackbridge.compare(source, folder).empty


def test_two_runs_of_a_store_are_compared_step_by_step(twin: str) -> None:
    one, other = samples.simple("a"), samples.simple("b", loss=0.5)
    one.tables["metrics"][1]["value"] = 0.25
    one.tables["metrics"] = one.tables["metrics"][:4]
    other.tables["metrics"][2]["value"] = float("nan")
    other.tables["metrics"][3]["value"] = 9.0
    one.tables["params"] = [{"key": "lr", "value": "1", "type": "string"}]
    other.tables["params"] = [{"key": "lr", "value": "2", "type": "string"}]
    one.tables["tags"] = [{"key": "kept", "value": "x"}]
    other.tables["tags"] = [{"key": "kept", "value": "x"}, {"key": "new", "value": None}]
    store(memory.MemoryStore("twin"), [one, other])
    run = "vision/a -> vision/b"
    frame = trackbridge.open(twin).compare("a", "b")
    assert [*frame.columns] == COLUMNS
    assert said(frame) == [
        (run, "params", "lr", None, "1", "2", "value"),
        (run, "tags", "new", None, None, None, "only right"),
        (run, "metrics", "loss", 2, 0.5 / 3, None, "value"),
        (run, "metrics", "loss", 3, 0.125, 9.0, "value"),
        (run, "metrics", "loss", 4, None, 0.1, "only right"),
    ]
    assert trackbridge.open(twin).compare("a", "a").empty
    assert set(trackbridge.open(twin).compare("a", "b", ["params"])["table"]) == {"params"}


def test_points_that_repeat_a_step_are_compared_in_their_order(twin: str) -> None:
    one, other = samples.simple("a"), samples.simple("b")
    for made, steps, values in ((one, (0, 0, 0, None), (1, 2, 5, 7)), (other, (0, None), (1, 8))):
        point = made.tables["metrics"][0]
        made.tables["metrics"] = [
            {**point, "step": step, "value": float(value)} for step, value in zip(steps, values)
        ]
    store(memory.MemoryStore("twin"), [one, other])
    rows = [row[2:] for row in said(trackbridge.open(twin).compare("a", "b", ["metrics"]))]
    assert rows == [
        ("loss", 0, 2.0, None, "only left"),
        ("loss", 0, 5.0, None, "only left"),
        ("loss", None, 7.0, 8.0, "value"),
    ]


def test_mistakes_are_one_clear_line(twin: str) -> None:
    store(memory.MemoryStore("twin"), [samples.simple("a"), samples.simple("b")])
    shown = trackbridge.open(twin)
    with pytest.raises(trackbridge.BridgeError, match="'losses' is none; there are"):
        trackbridge.compare(shown, shown, tables=["losses"])
    with pytest.raises(trackbridge.BridgeError, match="not compared by 'files'"):
        shown.compare("a", "b", ["files"])
    with pytest.raises(trackbridge.BridgeError, match="no run 'c'"):
        shown.compare("a", "c")


def test_a_run_that_cannot_be_read_is_a_difference_of_its_own(tmp_path: Path) -> None:
    from trackbridge_adapters.archive import ADAPTER

    for place in ("one", "two"):
        for name in "ab":
            made = MadeRun(RunKey("some-kind", "", "vision", name), samples.simple(name).tables)
            store(ADAPTER.writer(str(tmp_path / place), {}), [made])
    two = trackbridge.open(str(tmp_path / "two"))
    (broken, _) = sorted((tmp_path / "two" / "data" / "params").glob("*.parquet"))
    broken.write_bytes(b"x" * broken.stat().st_size)
    frame = trackbridge.compare(str(tmp_path / "one"), two)
    assert len(frame) == 1 and "damaged" in frame["what"].iloc[0]
