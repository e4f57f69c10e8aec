"""Any run can be laid into log calls: ascending steps, each key once in a row."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise, permutations
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from unit.core.stores import batch
from unit.core.strategies import START, log_calls, loose_points, small_rows

from trackbridge.adapter import Row
from trackbridge.residual import Places
from trackbridge.rows import lay, lay_run, lay_samples

AXIS = {"project": "p", "run_id": "r", "key": "the axis"}
SERIES = st.lists(small_rows("series"), max_size=4)


def laid(
    points: list[Row], series: Sequence[Row] = (), unit: int = 1
) -> tuple[list[Row], list[Row], list[Row]]:
    """Points, series and axis as rows; gaps are filled before points are laid."""
    filled = [
        {**p, "step": p["step"] or 0, "time": p["time"] or START - timedelta(days=19_000)}
        for p in points
    ]
    native, rows, axis = lay_run(batch("metrics", filled).data, list(series), AXIS, unit)
    return native.to_pylist(), rows, [] if axis is None else axis.to_pylist()


def own(points: list[Row]) -> list[Row]:
    return [point for point in points if not point["system"]]


@given(points=loose_points() | log_calls(), series=SERIES)
def test_steps_ascend_strictly_from_row_to_row(points: list[Row], series: list[Row]) -> None:
    native, rows, axis = laid(points, series)
    placed = {(p["row"], p["step"]) for p in [*own(native), *rows, *axis]}
    numbers = [number for number, _ in sorted(placed)]
    steps = [step for _, step in sorted(placed)]
    assert numbers == list(range(len(placed)))
    assert all(a < b for a, b in pairwise(steps))
    assert all(step >= 0 for step in steps)


@given(points=loose_points() | log_calls(), series=SERIES)
def test_each_key_occurs_once_in_a_row(points: list[Row], series: list[Row]) -> None:
    native, rows, axis = laid(points, series)
    cells = [(p["row"], p["key"]) for p in [*own(native), *rows, *axis]]
    assert len(set(cells)) == len(cells)


@given(points=loose_points() | log_calls(), series=SERIES)
def test_a_row_has_one_time_and_it_is_its_earliest(points: list[Row], series: list[Row]) -> None:
    native, rows, _ = laid(points, series)
    times: dict[int, set[Any]] = {}
    originals: dict[int, list[Any]] = {}
    for before, after in zip([*points, *series], [*native, *rows]):
        if not after.get("system"):
            times.setdefault(after["row"], set()).add(after["time"])
            moment = before["time"] or START - timedelta(days=19_000)
            originals.setdefault(after["row"], []).append(moment)
    assume(all(row["time"] is not None for row in series))
    for row, found in times.items():
        assert found == {min(originals[row])}


@given(points=loose_points() | log_calls(), series=SERIES)
def test_points_stay_aligned_with_what_went_in(points: list[Row], series: list[Row]) -> None:
    native, rows, _ = laid(points, series)
    names = ("key", "system")
    assert [[p[n] for n in names] for p in native] == [[p[n] for n in names] for p in points]
    assert np.array_equal(
        [p["value"] for p in native], [p["value"] for p in points], equal_nan=True
    )
    kept = ("key", "kind", "value", "path")
    assert [[r[n] for n in kept] for r in rows] == [[r[n] for n in kept] for r in series]


@given(points=log_calls())
def test_log_calls_keep_their_rows_steps_and_times(points: list[Row]) -> None:
    numbers = {row: index for index, row in enumerate(sorted({p["row"] for p in points}))}
    native, _, axis = laid(points)
    assert axis == []
    assert [(p["row"], p["step"], p["time"]) for p in native] == [
        (numbers[p["row"]], p["step"], p["time"]) for p in points
    ]


@given(points=loose_points() | log_calls(), series=SERIES)
def test_steps_stay_or_the_axis_has_them(points: list[Row], series: list[Row]) -> None:
    native, rows, axis = laid(points, series)
    before = [p["step"] or 0 for p in [*points, *series]]
    after = [*native, *rows]
    if axis:
        original = {point["row"]: point["value"] for point in axis}
        shown = [original[p["row"]] for p in after if not p.get("system")]
        assert {p["row"] for p in after if not p.get("system")} == set(original)
        assert {p["key"] for p in axis} == {"the axis"}
        assert [p["step"] for p in axis] == [p["row"] for p in axis]
    else:
        shown = [p["step"] for p in after if not p.get("system")]
    expected = [s for s, p in zip(before, after) if not p.get("system")]
    assert shown == [float(step) if axis else step for step in expected]


def test_an_axis_is_there_only_where_it_is_needed() -> None:
    ascending = [_point("a", 0), _point("b", 0), _point("a", 1)]
    repeated = [_point("a", 3, 0), _point("a", 3, 1), _point("b", 3, 0)]
    backwards = [_point("a", 5, 0), _point("a", 4, 1)]
    negative = [_point("a", -1)]
    assert [len(laid(points)[2]) for points in (ascending, repeated, backwards, negative)] == [
        *(0, 2, 0, 1)
    ]


def test_repeated_steps_are_told_apart_in_the_order_of_time() -> None:
    native, _, axis = laid([_point("a", 3, 9), _point("a", 3, 1), _point("b", 3, 5)])
    assert [p["row"] for p in native] == [1, 0, 0]
    assert [p["value"] for p in axis] == [3.0, 3.0]


def test_rows_are_counted_in_the_order_of_time() -> None:
    """A resumed run goes back to a step that it was at before."""
    native, _, axis = laid([_point("a", 5, 0), _point("a", 4, 1), _point("a", 5, 2)])
    assert [p["row"] for p in native] == [0, 1, 2]
    assert [p["value"] for p in axis] == [5.0, 4.0, 5.0]


def test_rows_of_the_source_are_given_up_where_they_are_no_rows() -> None:
    negative = [{**_point("a", -2), "row": 0}, {**_point("a", -1, 1), "row": 1}]
    repeated = [{**_point("a", 1), "row": 0}, {**_point("a", 1), "row": 0}]
    uneven = [{**_point("a", 1), "row": 0}, {**_point("b", 2), "row": 0}]
    backwards = [{**_point("a", 2), "row": 0}, {**_point("a", 1, 1), "row": 1}]
    for points, steps in (
        (negative, [0, 1]),
        (repeated, [0, 1]),
        (uneven, [1, 2]),
        (backwards, [2, 1]),
    ):
        native, _, _ = laid(points)
        assert sorted(p["step"] for p in native) == sorted(steps)
        assert len({p["row"] for p in native}) == 2
        assert all(p["step"] >= 0 for p in native)


def test_keys_logged_apart_at_the_same_step_share_a_row() -> None:
    native, _, _ = laid([_point("a", 7, 1), _point("b", 7, 2), _point("a", 8, 3)])
    assert [p["row"] for p in native] == [0, 0, 1]


def test_a_run_that_has_only_series_is_laid_too() -> None:
    row = {"key": "image", "step": 3, "time": START, "row": None, "kind": "image"}
    native, rows, axis = laid([], [row, row])
    assert native == []
    assert [r["row"] for r in rows] == [0, 1]
    assert [(p["project"], p["run_id"], p["value"]) for p in axis] == [("p", "r", 3.0)] * 2


def test_times_of_series_are_rounded_like_those_of_points() -> None:
    row = {"key": "i", "step": 0, "time": START + timedelta(microseconds=1_999), "kind": "image"}
    _, rows, _ = laid([], [row], unit=1_000)
    assert rows[0]["time"] == START + timedelta(microseconds=1_000)


@given(points=loose_points())
def test_samples_of_the_system_are_numbered_apart_from_the_run(points: list[Row]) -> None:
    samples = [{**point, "system": True} for point in points]
    native, _, axis = laid(samples)
    assert axis == []
    assert all(point["row"] is None for point in native)
    assert [p["time"] for p in native] == [
        p["time"] or START - timedelta(days=19_000) for p in points
    ]
    cells = [(p["step"], p["key"]) for p in native]
    assert len(set(cells)) == len(cells)
    by_step = sorted(native, key=lambda p: p["step"])
    assert [p["time"] for p in by_step] == sorted(p["time"] for p in native)
    assert {p["step"] for p in native} == set(range(len({p["step"] for p in native})))


@given(points=loose_points() | log_calls(), seed=st.randoms(use_true_random=False))
def test_the_order_of_points_makes_no_difference(points: list[Row], seed: Any) -> None:
    """What verify promises must be what migrate wrote, though the store gives another order."""
    order = list(range(len(points)))
    seed.shuffle(order)
    one, _, _ = laid(points)
    two, _, _ = laid([points[i] for i in order])

    def places(rows: list[Row]) -> list[str]:
        names = ("key", "step", "time", "row", "system")
        return sorted(repr([row["value"] + 0.0, *(row[name] for name in names)]) for row in rows)

    assert places(one) == places(two)


@pytest.mark.parametrize("system", [False, True])
def test_points_that_differ_in_value_alone_are_laid_in_the_same_order(system: bool) -> None:
    points = [{**_point("a", 3), "value": v, "system": system} for v in (1.0, 2.0, -1.0)]
    seen = set()
    for order in permutations(points):
        native, _, _ = laid(list(order))
        seen.add(tuple(sorted((point["value"], point["step"]) for point in native)))
    assert len(seen) == 1


def test_series_that_differ_in_value_alone_are_laid_in_the_same_order() -> None:
    rows = [{"key": "a", "step": 3, "kind": "text", "value": value} for value in ("x", "y", "z")]
    seen = set()
    for order in permutations(rows):
        _, found, _ = laid([], list(order))
        seen.add(tuple(sorted((row["value"], row["step"]) for row in found)))
    assert len(seen) == 1


def test_nothing_is_laid_into_nothing() -> None:
    none = Places(*(np.zeros(0, np.int64) for _ in range(3)))
    assert lay(none, *[np.zeros(0, np.int64)] * 2).axis is None
    assert len(lay_samples(none, *[np.zeros(0, np.int64)] * 2).step) == 0
    assert laid([]) == ([], [], [])


def _point(key: str, step: int, second: int = 0) -> Row:
    time = START + timedelta(seconds=second)
    return {"key": key, "step": step, "time": time, "row": None, "value": 1.0, "system": False}


def test_points_of_a_batch_are_given_back_with_the_schema_of_points() -> None:
    native, _, _ = lay_run(batch("metrics", [_point("a", 1)]).data, [], AXIS)
    assert isinstance(native, pa.RecordBatch)
    assert native.schema.names == batch("metrics", []).data.schema.names
