"""Points of exports: steps with fractions, missing values, selections, many rows, shared files."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.neptune import exporting, reading
from unit.neptune.exporting import point, single, write

from trackbridge.adapter import Query, RunRef
from trackbridge.optional import Excerpt
from trackbridge.schema import BATCH_ROWS
from trackbridge.testing.base import tries
from trackbridge_adapters.neptune import console, parts
from trackbridge_adapters.neptune.reader import Export
from trackbridge_adapters.neptune.steps import step_text

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
REF = RunRef("lab/p", "R-1")
IDS = [single("sys/id", "string", "R-1")]
STEPS = st.decimals(
    min_value=-(10**12) + 1, max_value=10**12 - 1, places=6, allow_nan=False, allow_infinity=False
)


def loss(steps: list[Any], key: str = "loss") -> list[dict[str, Any]]:
    return [
        point(key, "float_series", step, float(i), NOON + timedelta(seconds=i))
        for i, step in enumerate(steps)
    ]


def metrics(root: Path, selection: Excerpt = Excerpt()) -> list[tuple[str, int | None, float]]:  # noqa: B008
    batches = Export(str(root)).read_points([REF], selection)
    rows = [row for batch in batches for row in batch.data.to_pylist()]
    return sorted(((row["key"], row["step"], row["value"]) for row in rows), key=repr)


def test_whole_steps_stay_and_those_of_a_series_with_fractions_are_millionths(
    tmp_path: Path,
) -> None:
    write(tmp_path, *REF, [IDS, loss([0, 1, 2], "whole"), loss([0, "0.5", 1], "fine")])
    found = reading.tables(tmp_path)
    steps: dict[str, list[int]] = {}
    for row in found["metrics"]:
        steps.setdefault(row["key"], []).append(row["step"])
    assert steps == {"whole": [0, 1, 2], "fine": [0, 500_000, 1_000_000]}
    assert reading.extra(found)["steps_in_millionths"] == ["fine"]


def test_one_fraction_in_a_later_file_counts_for_the_whole_series(tmp_path: Path) -> None:
    write(tmp_path, *REF, [IDS, loss([0, 1])])
    write(tmp_path, *REF, [loss(["1.000001"])], number=1)
    assert [step for _, step, _ in metrics(tmp_path)] == [0, 1_000_000, 1_000_001]


@tries
@given(steps=st.lists(STEPS, min_size=1, max_size=8, unique=True))
def test_no_step_is_lost_whatever_its_digits(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Decimal]
) -> None:
    root = tmp_path_factory.mktemp("export")
    write(root, *REF, [IDS, loss(steps)])
    found = reading.tables(root)
    unit = 10**6 if reading.extra(found).get("steps_in_millionths") else 1
    read = {row["value"]: Decimal(row["step"]) / unit for row in found["metrics"]}
    assert read == {float(i): step for i, step in enumerate(steps)}
    assert (unit == 1) == all(step == step.to_integral_value() for step in steps)


@given(millionth=st.integers(-(10**18), 10**18))
def test_steps_in_names_of_files_say_the_same_number(millionth: int) -> None:
    assert Decimal(step_text(millionth)) == Decimal(millionth) / 10**6


def test_a_value_that_is_null_is_nan_and_infinities_stay(tmp_path: Path) -> None:
    values = [None, math.inf, -math.inf, -0.0]
    rows = [point("x", "float_series", i, value, NOON) for i, value in enumerate(values)]
    write(tmp_path, *REF, [IDS, rows])
    read = [repr(row["value"]) for row in reading.tables(tmp_path)["metrics"]]
    assert read == ["nan", "inf", "-inf", "-0.0"]


def test_points_without_step_or_time_have_none(tmp_path: Path) -> None:
    write(tmp_path, *REF, [IDS, [point("x", "float_series", None, 1.0), *loss([5], "x")]])
    rows = reading.tables(tmp_path)["metrics"]
    assert [(row["step"], row["time"]) for row in rows] == [(None, None), (5, NOON)]
    assert metrics(tmp_path, Excerpt(last=3)) == [("x", None, 1.0)]
    assert metrics(tmp_path, Excerpt(first=3)) == [("x", 5, 0.0)]


@pytest.mark.parametrize("fine", [False, True], ids=["whole", "fine"])
def test_a_selection_gives_what_the_whole_has_of_it(tmp_path: Path, *, fine: bool) -> None:
    groups = [loss([step / 2 if fine else step for step in range(9)], key) for key in "abc"]
    write(tmp_path, *REF, [IDS, *groups, loss(list(range(20, 30)), "d")])
    whole = metrics(tmp_path)
    unit = 10**6 if fine else 1
    for keys in (None, frozenset("a"), frozenset("bd"), frozenset("z"), frozenset()):
        for first, last in ((None, None), (2, None), (None, 3 * unit), (2, 25), (100 * unit, None)):
            meant = [
                p
                for p in whole
                if (keys is None or p[0] in keys)
                and (first is None or (p[1] or 0) >= first)
                and (last is None or (p[1] or 0) <= last)
            ]
            assert metrics(tmp_path, Excerpt(keys, first, last)) == meant, (keys, first, last)


def test_groups_that_can_have_nothing_of_a_selection_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, *REF, [IDS, loss([0, 1], "a"), loss([0, 1], "b"), loss([7, 8], "b")])
    read: list[tuple[int, tuple[str, ...]]] = []
    before = parts.Part.batches

    def noted(self: parts.Part, group: parts.Group, columns: Any, damage: Any) -> Iterator[Any]:
        read.append((group.number, tuple(columns)))
        return before(self, group, columns, damage)

    monkeypatch.setattr(parts.Part, "batches", noted)
    assert metrics(tmp_path, Excerpt(frozenset("b"), 5, 9)) == [("b", 7, 0.0), ("b", 8, 1.0)]
    assert [number for number, columns in read if "float_value" in columns] == [3]


def test_listing_reads_no_group_that_has_metrics_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, *REF, [IDS, loss(list(range(1000)))])
    read: list[int] = []
    before = parts.Part.batches

    def noted(self: parts.Part, group: parts.Group, columns: Any, damage: Any) -> Iterator[Any]:
        read.append(group.number)
        return before(self, group, columns, damage)

    monkeypatch.setattr(parts.Part, "batches", noted)
    [info] = Export(str(tmp_path)).list_runs(Query())
    assert (info.points, info.estimated, read) == (1000, False, [0])


def test_a_row_group_of_any_length_comes_in_batches_of_the_allowed_size(tmp_path: Path) -> None:
    count = 3 * BATCH_ROWS + 5
    columns = {
        "project_id": pa.array([REF.project] * count),
        "run_id": pa.array([REF.run_id] * count),
        "attribute_path": pa.array(["loss"] * count),
        "attribute_type": pa.array(["float_series"] * count),
        "step": exporting.whole_steps(count),
        "float_value": pa.array(range(count)).cast(pa.float64()),
    }
    absent = [field for field in exporting.SCHEMA if field.name not in columns]
    table = pa.table(columns)
    for field in absent:
        table = table.append_column(field, pa.nulls(count, field.type))
    path = exporting.part(tmp_path, *REF)
    path.parent.mkdir(parents=True)
    pa.parquet.write_table(table.select(exporting.SCHEMA.names), path, row_group_size=count)
    batches = list(Export(str(tmp_path)).read_runs([REF], ["metrics"]))
    assert max(batch.data.num_rows for batch in batches) <= BATCH_ROWS
    steps = [step for batch in batches for step in batch.data.column("step").to_pylist()]
    assert steps == list(range(count))


def test_runs_that_share_files_and_groups_are_told_apart(tmp_path: Path) -> None:
    """Until November 2025 the files were those of a project."""
    rows = [
        {"project_id": "lab/p", "run_id": run, **row}
        for run in ("R-1", "R-2", "R-3")
        for row in (
            single("sys/name", "string", f"name of {run}"),
            *loss([0, 1, "1.5"] if run == "R-2" else [0, 1]),
            point("notes", "string_series", 0, run),
        )
    ]
    folder = tmp_path / "data" / "lab_p"
    exporting.write_part(folder / "part_0.parquet", [rows[::2], rows[1::2]])
    exporting.write_part(folder / "part_1.parquet", [rows[:1]])
    reader = Export(str(tmp_path))
    infos = list(reader.list_runs(Query()))
    assert [(i.ref.run_id, i.name, i.points) for i in infos] == [
        ("R-1", "name of R-1", 3),
        ("R-2", "name of R-2", 4),
        ("R-3", "name of R-3", 3),
    ]
    for ref in (info.ref for info in infos):
        found = reading.tables(tmp_path, ref)
        unit = 10**6 if ref.run_id == "R-2" else 1
        assert sorted(row["step"] for row in found["metrics"])[:2] == [0, unit]
        assert [json.loads(row["value"]) for row in found["series"]] == [ref.run_id]
    together = list(reader.read_runs([i.ref for i in infos], ["metrics"]))
    assert sum(batch.data.num_rows for batch in together) == 7


@given(steps=st.lists(st.integers(-5, 5), max_size=12))
def test_steps_of_lines_are_kept_as_stretches(steps: list[int]) -> None:
    stretches = console.spans(steps)
    assert [f + d * n for f, d, count in stretches for n in range(count)] == steps


def test_lines_of_several_processes_stay_apart(tmp_path: Path) -> None:
    lines = [
        point(f"monitoring/{process}/stdout", "string_series", i, f"{process}{i}\n", NOON)
        for i in range(2)
        for process in "ba"
    ]
    write(tmp_path, *REF, [IDS, lines])
    found = reading.tables(tmp_path)
    assert [row["text"] for row in found["logs"]] == ["a0\n", "a1\n", "b0\n", "b1\n"]
    assert [note["path"] for note in reading.extra(found)["console"]] == [
        "monitoring/a/stdout",
        "monitoring/b/stdout",
    ]
