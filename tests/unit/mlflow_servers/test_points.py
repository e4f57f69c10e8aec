"""Points out of database servers, which send a point's values joined."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from servers import POSTGRES, Databases
from sqlalchemy import make_url

from trackbridge.adapter import Query, Row
from trackbridge.errors import IntegrityError
from trackbridge.optional import Splitting
from trackbridge.registry import open_reader
from trackbridge_adapters.mlflow.server_session import APART

RUN = "e" * 32


def with_points(databases: Databases, folder: Path, run: str, points: str) -> str:
    """The URI of a database with a run that has points: rows of SQL, behind the run's id."""
    uri = databases.new(folder)
    rows = points.replace("(", f"('{run}', ")
    for table, columns, values in (
        ("runs", "run_uuid, experiment_id, lifecycle_stage", f"('{run}', 0, 'active')"),
        ("metrics", "run_uuid, key, value, timestamp, step, is_nan", rows),
    ):
        query = f"INSERT INTO {table} ({columns}) VALUES {values}"
        databases.run(query, make_url(uri).database or "")
    return uri


def read(uri: str) -> list[Row]:
    reader = open_reader(f"mlflow:{uri}")
    refs = [info.ref for info in reader.list_runs(Query())]
    batches = [batch for batch in reader.read_runs(refs) if batch.table == "metrics"]
    return [row for batch in batches for row in batch.data.to_pylist()]


def test_a_key_may_have_the_sign_that_stands_between_values(tmp_path: Path) -> None:
    keys = ["plain", f"a{APART}b", APART, f"{APART}{APART}c", ""]
    points = ", ".join(f"('{key}', 1, 0, {step}, false)" for step, key in enumerate(keys))
    found = read(with_points(POSTGRES, tmp_path, RUN, points))
    assert [(row["run_id"], row["key"], row["step"]) for row in found] == [
        (RUN, key, step) for step, key in enumerate(keys)
    ]


def test_what_is_marked_as_nan_is_nan_and_nothing_else_is_changed(tmp_path: Path) -> None:
    points = (
        "('a', 0, 0, 0, true), ('a', 'NaN', 0, 1, false), ('a', '-Infinity', 0, 2, false),"
        " ('a', '-0', 0, 3, false), ('a', 5e-324, 0, 4, false)"
    )
    values = [row["value"] for row in read(with_points(POSTGRES, tmp_path, RUN, points))]
    assert all(math.isnan(value) for value in values[:2])
    assert str(values[2:]) == "[-inf, -0.0, 5e-324]"


def test_a_run_whose_id_has_that_sign_is_an_error(tmp_path: Path) -> None:
    uri = with_points(POSTGRES, tmp_path, f"odd{APART}id", "('a', 1, 0, 0, false)")
    with pytest.raises(IntegrityError, match="cannot be read"):
        read(uri)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE metrics SET value = value + 1 WHERE step > 4000",
        "INSERT INTO metrics SELECT key, value, timestamp, run_uuid, 9999, false FROM metrics"
        " WHERE step = 1",
        "CLUSTER metrics USING metric_pk",  # which gives all rows other places
    ],
)
def test_pieces_have_no_points_that_have_changed_since_the_run_was_cut(
    tmp_path: Path, change: str
) -> None:
    points = ", ".join(f"('{step % 3}', {step}, 0, {step}, false)" for step in range(5000))
    uri = with_points(POSTGRES, tmp_path, RUN, points)
    database = make_url(uri).database or ""
    POSTGRES.run("ANALYZE metrics", database)
    reader = open_reader(f"mlflow:{uri}")
    assert isinstance(reader, Splitting)
    [info] = reader.list_runs(Query())
    pieces = reader.split(info, 500)

    def found() -> int:
        batches = (batch for piece in pieces for batch in reader.read_piece(info.ref, piece))
        return sum(batch.data.num_rows for batch in batches)

    assert len(pieces) > 5 and found() == info.points == 5000
    POSTGRES.run(f"INSERT INTO tags VALUES ('a', 'tag', '{RUN}')", database)
    assert found() == 5000
    POSTGRES.run(change, database)
    assert found() < 5000
