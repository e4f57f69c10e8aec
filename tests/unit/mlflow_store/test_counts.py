"""Points are counted run by run, whichever run has most of them."""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackbridge.adapter import Query
from trackbridge_adapters.mlflow import ADAPTER, sqlite_counts
from trackbridge_adapters.mlflow.database import Database
from trackbridge_adapters.mlflow.sqlite import RUN_INDEX, SqliteSession

FIXTURE = Path(__file__).parents[3] / "fixtures/mlflow-2.22/mlflow.db"
STRAY = (None, "", "gone", "zzz")
"""Runs that points may name, and that are not there."""


def database(path: Path, order: list[int], *, indexed: bool = True) -> list[str | None]:
    """A database with a point of each of these runs, by number; the runs that were meant."""
    shutil.copyfile(FIXTURE, path)
    with sqlite3.connect(path) as connection:
        runs = sorted(run for (run,) in connection.execute("SELECT run_uuid FROM runs"))
        named = [[*runs, *STRAY][number % (len(runs) + len(STRAY))] for number in order]
        connection.execute("DROP TABLE metrics")
        columns = "key, value FLOAT, timestamp BIGINT, step BIGINT, is_nan BOOLEAN"
        connection.execute(f"CREATE TABLE metrics ({columns}, run_uuid VARCHAR(32))")
        if indexed:
            connection.execute(f"CREATE INDEX {RUN_INDEX} ON metrics (run_uuid)")
        insert = "INSERT INTO metrics VALUES ('loss', 0.5, 5, ?, 0, ?)"
        connection.executemany(insert, list(enumerate(named)))
    connection.close()
    return named


def listed(path: Path) -> dict[str, int]:
    infos = ADAPTER.reader(str(path), {}).list_runs(Query())
    return {info.ref.run_id: info.points for info in infos if info.points}


@given(
    order=st.lists(st.integers(0, 99), max_size=20),
    run=st.integers(0, 3),
    many=st.integers(0, 60),
    indexed=st.booleans(),
)
def test_each_run_has_its_points_whatever_lies_between_them(
    tmp_path_factory: pytest.TempPathFactory,
    order: list[int],
    run: int,
    many: int,
    indexed: bool,
) -> None:
    path = tmp_path_factory.mktemp("counts") / "mlflow.db"
    order = [*order[::2], *[run] * many, *order[1::2]]
    expected = Counter(database(path, order, indexed=indexed))
    assert listed(path) == {r: count for r, count in expected.items() if r not in STRAY}


@pytest.mark.parametrize(
    ("order", "has_most"), [([1, 0, *[1] * 50, 2, 3], True), ([0, 1, 2, 3] * 50, False)]
)
def test_the_run_that_has_most_points_is_told_from_runs_logged_at_once(
    tmp_path: Path, order: list[int], has_most: bool
) -> None:
    path = tmp_path / "mlflow.db"
    named = database(path, order)
    with Database(path).session() as session:
        assert isinstance(session, SqliteSession)
        assert sqlite_counts.longest(session) == (named[0] if has_most else None)
