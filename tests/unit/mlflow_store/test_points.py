"""Points arrive exactly, out of text lines and out of columns that may hold anything."""

from __future__ import annotations

import json
import math
import shutil
import sqlite3
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trackbridge.adapter import Query, RunRef
from trackbridge.schema import BATCH_ROWS
from trackbridge.splitting import is_sound
from trackbridge.testing.selecting import check_excerpts
from trackbridge_adapters.mlflow import ADAPTER
from trackbridge_adapters.mlflow.files_points import Columns, MetricFile, Series, packed
from trackbridge_adapters.mlflow.sql_points_write import Points

FIXTURES = Path(__file__).parents[3] / "fixtures"
LINE = st.tuples(st.integers(-(10**15), 10**15), st.floats(), st.integers(-(2**63), 2**63 - 1))


def parsed(data: bytes) -> tuple[list[tuple[int, str, int]], list[str]]:
    """Points of a metric file, floats as text, and its damage."""
    with tempfile.NamedTemporaryFile() as out:
        out.write(data)
        out.flush()
        file = MetricFile(Path(out.name), "m")
        points = [
            (int(time), repr(float(value)), int(step))
            for columns in file
            for time, value, step in zip(*columns)
        ]
    return points, file.damage


@given(lines=st.lists(LINE), copies=st.sampled_from([1, 100]), end=st.sampled_from(["\n", "\r\n"]))
def test_lines_as_mlflow_writes_them_are_read_exactly(
    lines: list[tuple[int, float, int]], copies: int, end: str
) -> None:
    text = "".join(f"{time} {value} {step}{end}" for time, value, step in lines * copies)
    points, damage = parsed(text.encode())
    assert points == [(time, repr(value), step) for time, value, step in lines * copies]
    assert damage == []


@given(
    lines=st.lists(LINE, min_size=1),
    junk=st.sampled_from([b"", b"1 2 x", b"x", b"1 2 3.5", b"9" * 30 + b" 1 1", b"\xff\xfe 1 1"]),
    place=st.integers(0, 40),
    copies=st.sampled_from([1, 100]),
)
@example(lines=[(0, 0.0, 0)], junk=b"1 2", place=0, copies=100)
def test_a_broken_line_costs_no_other(
    lines: list[tuple[int, float, int]], junk: bytes, place: int, copies: int
) -> None:
    good = [f"{time} {value} {step}".encode() for time, value, step in lines * copies]
    place = 1 + place % len(good)
    data = b"\n".join([*good[:place], junk, *good[place:]]) + b"\n"
    points, damage = parsed(data)
    assert points == [(time, repr(value), step) for time, value, step in lines * copies]
    assert len(damage) == 1
    assert damage[0].startswith(f"m: line {place + 1}: no point")


@given(lines=st.lists(LINE, min_size=1), keep=st.integers(0, 200), copies=st.sampled_from([1, 80]))
def test_of_a_file_that_was_cut_off_every_whole_line_arrives(
    lines: list[tuple[int, float, int]], keep: int, copies: int
) -> None:
    text = "".join(f"{time} {value} {step}\n" for time, value, step in lines * copies)
    data = text.encode()[: max(0, len(text) - keep)]
    whole = data.count(b"\n")
    points, damage = parsed(data)
    expected = [(time, repr(value), step) for time, value, step in lines * copies]
    assert points[:whole] == expected[:whole]
    assert bool(damage) is (bool(data) and not data.endswith(b"\n"))


def test_lines_of_before_mlflow_1_have_no_step_and_are_at_step_0() -> None:
    assert parsed(b"1 0.5\n2 0.25\n") == ([(1, "0.5", 0), (2, "0.25", 0)], [])


def test_lines_about_a_dataset_are_points_with_their_step() -> None:
    points, damage = parsed(b"1 0.5 7 some name with spaces digest\n")
    assert (points, damage) == ([(1, "0.5", 7)], [])


def test_many_broken_lines_are_counted_not_listed() -> None:
    _, damage = parsed(b"x\n" * 1000)
    assert len(damage) == 6
    assert damage[-1] == "m: and 995 more such lines"


def test_small_series_share_batches_and_large_ones_are_split() -> None:
    def series(key: str, count: int) -> Series:
        numbers = np.arange(count)
        columns = Columns(numbers, numbers.astype(np.float64), numbers)
        return Series(RunRef("p", "r"), key, columns)

    batches = list(packed([series("a", 3), series("system/b", 2), series("c", BATCH_ROWS)]))
    assert [batch.num_rows for batch in batches] == [BATCH_ROWS, 5]
    rows = [row for batch in batches for row in batch.to_pylist()]
    assert [(r["key"], r["system"]) for r in rows[:6]] == [("a", False)] * 3 + [("b", True)] * 2 + [
        ("c", False)
    ]


# SQLite: any column may hold anything


def database(tmp_path: Path, rows: Sequence[tuple[Any, ...]]) -> Path:
    """A database with rows of (key, value, timestamp, step, is_nan), without constraints."""
    path = tmp_path / "odd.db"
    shutil.copyfile(FIXTURES / "mlflow-2.22" / "mlflow.db", path)
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE metrics")
        columns = "key VARCHAR(250), value FLOAT, timestamp BIGINT, step BIGINT, is_nan BOOLEAN"
        connection.execute(f"CREATE TABLE metrics ({columns}, run_uuid VARCHAR(32))")
        connection.execute("CREATE INDEX index_metrics_run_uuid ON metrics (run_uuid)")
        connection.executemany(
            "INSERT INTO metrics SELECT ?, ?, ?, ?, ?, min(run_uuid) FROM runs", rows
        )
    connection.close()
    return path


def read(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Points of the database, and what is damaged."""
    reader = ADAPTER.reader(str(path), {})
    (ref, *_) = sorted(info.ref for info in reader.list_runs(Query()))
    ref = min((i.ref for i in reader.list_runs(Query())), key=lambda r: r.run_id)
    rows: dict[str, list[dict[str, Any]]] = {"metrics": [], "runs": []}
    whole = True
    for batch in reader.read_runs([ref], ["metrics", "runs"]):
        rows[batch.table] += batch.data.to_pylist()
        whole &= batch.table != "metrics" or is_sound(batch)
    alone = [b.data.to_pylist() for b in reader.read_runs([ref], ["runs"])]
    assert [rows["runs"]] == alone, "what is damaged does not depend on what is read"
    for sound in {False, whole}:
        rest = [b.data.to_pylist() for b in reader.read_rest(ref, sound=sound) if b.table == "runs"]
        assert rest == alone
    extra = json.loads(rows["runs"][0]["extra"] or "{}")
    return rows["metrics"], extra.get("damage", [])


GOOD = ("loss", 0.5, 5, 1, 0)


@pytest.mark.parametrize("before", [0, 3, BATCH_ROWS + 1])
@pytest.mark.parametrize(
    ("odd", "expected", "fault"),
    [
        (("k", "text", 5, 1, 0), (None, 5, 1), "metrics.value: 1 values cannot be read, e.g. 'tex"),
        (("k", 1.0, "soon", 1, 0), (1.0, None, 1), "metrics.timestamp: 1 values cannot be read"),
        (("k", 1.0, 2**62, 1, 0), (1.0, None, 1), "metrics.timestamp: 1 values cannot be read"),
        (("k", 1.0, 5, 1.5, 0), (1.0, 5, None), "metrics.step: 1 values cannot be read, e.g. '1.5"),
        (("k", None, 5, 1, 0), (None, 5, 1), None),
        (("k", 1.0, None, None, None), (1.0, None, None), None),
        (("k", 0.0, 5, 1, 1), ("nan", 5, 1), None),
        (("k", 1e308 * 10, 5, 1, 0), ("inf", 5, 1), None),
        ((b"k\xff", 1.0, 5, 1, 0), (1.0, 5, 1), "metrics.key: not UTF-8"),
    ],
)
def test_an_odd_row_costs_no_other_and_is_named(
    tmp_path: Path, before: int, odd: tuple[Any, ...], expected: tuple[Any, ...], fault: str | None
) -> None:
    points, damage = read(database(tmp_path, [GOOD] * before + [odd] + [GOOD] * 2))
    assert len(points) == before + 3
    (found,) = [p for p in points if p["key"] != "loss"]
    value = found["value"]
    if value is not None and not math.isfinite(value):
        value = str(value)
    time = found["time"] and round(found["time"].timestamp() * 1000)
    assert (value, time, found["step"]) == expected
    assert found["key"] in ("k", "k\\xff")
    assert all(p["value"] == 0.5 and p["step"] == 1 for p in points if p["key"] == "loss")
    assert [line[: len(fault or "")] for line in damage] == ([fault] if fault else [])


KEYS = st.sampled_from(
    ["loss", "system/loss", "system/system/loss", b"loss", b"k\xff", "k", None, ""]
)
STEPS = st.one_of(st.integers(-3, 3), st.sampled_from([None, 1.5, "x", b"1", 2**63 - 1]))
ODD = st.tuples(KEYS, st.sampled_from([0.5, None, "x"]), st.integers(0, 3), STEPS, st.just(0))


@given(rows=st.lists(ODD, max_size=12), other_runs=st.booleans())
def test_parts_of_odd_rows_are_found_as_among_all_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[Any, ...]], other_runs: bool
) -> None:
    reader = ADAPTER.reader(str(database(tmp_path_factory.mktemp("odd"), rows)), {})
    refs = sorted((info.ref for info in reader.list_runs(Query())), key=lambda ref: ref.run_id)
    check_excerpts(reader, refs if other_runs else refs[:1])


def test_columns_that_an_old_revision_lacks_are_as_mlflows_migrations_fill_them(
    tmp_path: Path,
) -> None:
    path = tmp_path / "old.db"
    shutil.copyfile(FIXTURES / "mlflow-2.22" / "mlflow.db", path)
    with sqlite3.connect(path) as connection:
        for table in ("metrics", "latest_metrics", "datasets", "inputs", "input_tags"):
            connection.execute(f"DROP TABLE {table}")
        connection.execute("CREATE TABLE metrics (key, value FLOAT, timestamp BIGINT, run_uuid)")
        connection.execute("INSERT INTO metrics SELECT 'loss', 0.5, 7, min(run_uuid) FROM runs")
        for column in ("creation_time", "last_update_time"):
            connection.execute(f"ALTER TABLE experiments DROP COLUMN {column}")
        connection.execute("ALTER TABLE runs DROP COLUMN deleted_time")
    connection.close()
    points, damage = read(path)
    assert [(p["key"], p["value"], p["step"]) for p in points] == [("loss", 0.5, 0)]
    assert damage == []
    shared = list(ADAPTER.reader(str(path), {}).read_shared(Query()))
    assert {batch.table for batch in shared} >= {"projects", "models"}


def test_the_first_schema_of_all_is_read(tmp_path: Path) -> None:
    """MLflow keeps that of 0.9 (2019) for its own migrations."""
    from mlflow.store.tracking.dbmodels.initial_models import Base
    from sqlalchemy import create_engine

    path = tmp_path / "first.db"
    engine = create_engine(f"sqlite:///{path}")
    Base.metadata.create_all(engine)
    engine.dispose()
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO experiments VALUES (1, 'old', './mlruns/1', 'active')")
        connection.execute(
            "INSERT INTO runs (run_uuid, name, source_type, source_name, user_id, status,"
            " start_time, lifecycle_stage, artifact_uri, experiment_id)"
            " VALUES ('r', 'n', 'LOCAL', 'train.py', 'ann', 'FINISHED', 5, 'active', './a', 1)"
        )
        connection.execute(
            "INSERT INTO metrics (key, value, timestamp, run_uuid) VALUES ('loss', 0.5, 7, 'r')"
        )
        connection.execute("INSERT INTO params VALUES ('lr', '0.1', 'r')")
        connection.execute("INSERT INTO tags VALUES ('t', 'v', 'r')")
    connection.close()
    points, damage = read(path)
    assert [(p["key"], p["value"], p["step"]) for p in points] == [("loss", 0.5, 0)]
    assert damage == []
    reader = ADAPTER.reader(str(path), {})
    (info,) = reader.list_runs(Query())
    assert (info.ref, info.name, info.status) == (RunRef("old", "r"), "n", "finished")
    tables = {batch.table for batch in reader.read_runs([info.ref])}
    assert tables == {"runs", "metrics", "params", "tags"}


# Writing


@given(
    points=st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.integers(0, 3), st.floats()),
        max_size=30,
    ),
    size=st.integers(1, 10),
)
def test_the_latest_points_are_those_that_mlflow_would_keep(
    points: list[tuple[str, int, int, float]], size: int
) -> None:
    writing = Points()
    for start in range(0, len(points), size):
        writing.add(_batch(points[start : start + size]))
        if start % 2:
            writing.rest()
    writing.rest()
    latest = writing.latest()
    found = {} if latest is None else {row["key"]: _order(row) for row in latest.to_pylist()}
    expected: dict[str, tuple[int, int, float]] = {}
    for key, step, time, value in points:
        order = (step, time, 0.0 if math.isnan(value) else value)
        expected[key] = max(expected.get(key, order), order)
    assert found == expected


def _order(row: dict[str, Any]) -> tuple[int, int, float]:
    return row["step"], row["timestamp"], row["value"]


def _batch(points: Sequence[tuple[str, int, int, float]]) -> pa.RecordBatch:
    from trackbridge.columns import batches

    rows = [
        {
            "project": "p",
            "run_id": "r",
            "key": key,
            "step": step,
            "time": time * 1000,
            "value": value,
            "system": False,
        }
        for key, step, time, value in points
    ]
    (batch,) = batches("metrics", rows)
    return batch.data
