"""What people do to a run after it has moved is seen, and the rest stays as it was."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

import trackbridge
from trackbridge.adapter import Query, RunInfo
from trackbridge.registry import open_reader
from trackbridge.show import summarize
from trackbridge.sidecar import Overlay

Row = dict[str, object]


def rows(store: str, info: RunInfo, table: str) -> list[Row]:
    """The rows of a run as it was where it was born."""
    read = Overlay(open_reader(store), [info]).read([table])
    return [row for batch in read if batch.table == table for row in batch.data.to_pylist()]


@pytest.fixture
def moved(
    copied: Callable[[str], Path], tmp_path: Path, quick_databases: None
) -> tuple[str, Path, RunInfo]:
    """A store of run folders, the database that they were moved to, and one run of it."""
    source = str(copied("wandb-0.31/wandb"))
    database = tmp_path / "new" / "mlflow.db"
    assert trackbridge.migrate(source, f"mlflow:sqlite:///{database}").verified
    infos = open_reader(f"mlflow:sqlite:///{database}").list_runs(Query())
    return source, database, next(info for info in infos if info.key.run_id == "config01")


def change(database: Path, statement: str, *values: object) -> None:
    with sqlite3.connect(database) as connection:
        assert connection.execute(statement, values).rowcount > 0
    connection.close()


def test_edits_in_mlflow_come_along_and_nothing_else_changes(
    moved: tuple[str, Path, RunInfo], tmp_path: Path
) -> None:
    source, database, info = moved
    target, run = f"mlflow:sqlite:///{database}", info.ref.run_id
    before = {table: rows(target, info, table) for table in ("runs", "params", "tags", "metrics")}
    change(database, "update runs set name = 'better name' where run_uuid = ?", run)
    change(database, "update params set value = '0.5' where key = 'lr' and run_uuid = ?", run)
    change(database, "insert into tags (key, value, run_uuid) values ('seen', 'yes', ?)", run)
    change(
        database,
        "insert into metrics (key, value, timestamp, run_uuid, step, is_nan)"
        " values ('later', 0.5, 1800000000000, ?, 7, 0)",
        run,
    )
    after = {table: rows(target, info, table) for table in before}

    (changed,) = after["runs"]
    assert {**changed, "name": before["runs"][0]["name"]} == before["runs"][0]
    assert changed["name"] == "better name"

    (rate,) = (row for row in after["params"] if row["key"] == "lr")
    (old,) = (row for row in before["params"] if row["key"] == "lr")
    assert {**rate, "value": old["value"]} == old
    assert rate["value"] == "0.5"
    assert all(row in after["params"] for row in before["params"] if row is not old)
    assert len(after["params"]) == len(before["params"])

    new = [row for row in after["tags"] if row not in before["tags"]]
    assert [(row["key"], row["value"]) for row in new] == [("seen", "yes")]
    assert [row for row in before["tags"] if row not in after["tags"]] == []

    later = [row for row in after["metrics"] if row["key"] == "later"]
    assert [(row["step"], row["value"]) for row in later] == [(7, 0.5)]
    assert len(after["metrics"]) == len(before["metrics"]) + 1

    found = trackbridge.verify(source, target)
    assert (found.total - found.equal, found.missing) == (1, 0)
    assert {"runs", "params", "tags", "metrics"} <= {d.table for d in found.differences}

    archive = f"archive:{tmp_path}/archive"
    assert trackbridge.migrate(target, archive).verified
    assert trackbridge.verify(target, archive).holds
    assert ["name", "better name"] in summarize(archive, "config01")["run"]


def test_a_run_that_was_deleted_in_mlflow_is_seen_as_deleted(
    moved: tuple[str, Path, RunInfo], tmp_path: Path
) -> None:
    _, database, info = moved
    target = f"mlflow:sqlite:///{database}"
    change(
        database,
        "update runs set lifecycle_stage = 'deleted' where run_uuid = ?",
        info.ref.run_id,
    )
    (row,) = rows(target, info, "runs")
    assert row["deleted"] is True
    assert trackbridge.migrate(target, f"archive:{tmp_path}/archive").verified


def test_a_label_that_was_removed_in_mlflow_does_not_come_home(
    moved: tuple[str, Path, RunInfo],
) -> None:
    _, database, info = moved
    target = f"mlflow:sqlite:///{database}"
    before = [row["key"] for row in rows(target, info, "tags")]
    change(
        database,
        "delete from tags where key = ? and run_uuid = ?",
        f"wandb.tag.{before[0]}",
        info.ref.run_id,
    )
    assert [row["key"] for row in rows(target, info, "tags")] == before[1:]
