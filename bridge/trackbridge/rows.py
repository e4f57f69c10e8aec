"""Lays the points of a run into rows: log calls with ascending steps, each key once in a row.

For stores that know no other form (`Capabilities.rows`). Points that come in such rows keep
them. Others are put together by step. Where a key repeats a step, the order of time decides,
rows are counted instead, and the original step becomes a metric of its own to plot against.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trackbridge.adapter import Row
from trackbridge.columns import codes, numpy_of
from trackbridge.digest import row_digest
from trackbridge.residual import NO_ROW, Ints, Places
from trackbridge.schema import CODE, TABLES, TIME


def lay_run(
    points: pa.RecordBatch, series: list[Row], axis: Row, unit: int = 1
) -> tuple[pa.RecordBatch, list[Row], pa.RecordBatch | None]:
    """One run's points and series in rows; with the points of one more metric if needed.

    Aligned with the input. That metric, whose labels and key are in `axis`, holds the original
    steps where rows had to be counted. Times are multiples of `unit` microseconds.
    """
    system = np.array(points.column("system"))
    names = {name: code for code, name in enumerate(points.column("key").dictionary.to_pylist())}
    extra = [names.setdefault(row["key"], len(names)) for row in series]
    keys, places = codes(points.column("key")), Places.of(points)
    own = places.take(~system)
    joined = Places(*(np.concatenate(pair) for pair in zip(own, _places_of_rows(series, unit))))
    values = _bits(points)
    layout = lay(
        joined,
        np.concatenate([keys[~system], np.array(extra, np.int64)]),
        np.concatenate([values[~system], _digests(series)]),
    )
    samples = lay_samples(places.take(system), keys[system], values[system])
    for column, of_run, of_system in zip(places, layout.places, samples):
        column[~system] = of_run[: len(own.step)]
        column[system] = of_system
    laid = _with_places(points, places)
    rows = [
        {**row, "step": step, "time": pa.scalar(time, TIME).as_py(), "row": number}
        for row, step, time, number in zip(
            series, *(column[len(own.step) :].tolist() for column in layout.places)
        )
    ]
    if layout.axis is None:
        return laid, rows, None
    return laid, rows, _axis_points(layout, axis)


def _places_of_rows(rows: list[Row], unit: int) -> Places:
    def column(name: str, none: int) -> Ints:
        found = [none if row.get(name) is None else row[name] for row in rows]
        if name == "time":
            found = [
                pa.scalar(value, TIME).value if row.get(name) else 0
                for row, value in zip(rows, found)
            ]
        return np.array(found, np.int64)

    time = column("time", 0)
    return Places(column("step", 0), time - time % unit, column("row", NO_ROW))


def _bits(points: pa.RecordBatch) -> Ints:
    """The value of each point as a number that any two values differ in, but NaN and NaN."""
    value = numpy_of(points.column("value"), np.float64)
    value[np.isnan(value)] = np.nan
    return value.view(np.int64)


def _digests(rows: list[Row]) -> Ints:
    return np.array([int(row_digest("series", row)[:15], 16) for row in rows], np.int64)


def _with_places(points: pa.RecordBatch, places: Places) -> pa.RecordBatch:
    columns = dict(zip(points.schema.names, points.columns))
    columns.update(zip(("step", "time", "row"), places.arrays()))
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=TABLES["metrics"])


def _axis_points(layout: Layout, axis: Row) -> pa.RecordBatch:
    _, first = np.unique(layout.places.row, return_index=True)
    count = len(first)

    def repeated(value: str) -> pa.Array:
        return pa.array([value] * count).dictionary_encode().cast(CODE)

    columns = [
        *(repeated(axis[name]) for name in ("project", "run_id", "key")),
        *layout.places.take(first).arrays(),
        pa.array(layout.axis.astype(np.float64)) if layout.axis is not None else pa.nulls(count),
        pa.repeat(pa.scalar(False), count),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=TABLES["metrics"])


class Layout(NamedTuple):
    """Where each point goes; `axis` is the original step per row where rows are counted."""

    places: Places
    axis: Ints | None


def lay(places: Places, series: Ints, values: Ints) -> Layout:
    """Rows for the points of one run; `series` tells the keys apart. Aligned with the input.

    `values` order points that differ in nothing else: stores give them in any order.
    """
    if not len(series):
        return Layout(places, None)
    row = _kept_rows(places, series)
    if row is None:
        row = _rows_by_step(places, series)
    if row is not None:
        return Layout(Places(places.step, _earliest(places.time, row), row), None)
    row, axis = _rows_by_time(places, series, values)
    return Layout(Places(row, _earliest(places.time, row), row), axis)


def lay_samples(places: Places, series: Ints, values: Ints) -> Places:
    """Samples of the system: numbered in order of time, each key once in a sample; no rows."""
    if not len(series):
        return places
    nothing = np.full(len(series), NO_ROW, np.int64)
    occurrence = _occurrence(series, places.time, places.step, values)
    sample = _rank(places.time, places.step, occurrence)
    return Places(sample, places.time, nothing)


def _kept_rows(places: Places, series: Ints) -> Ints | None:
    """The source's own rows, numbered without gaps, if each has one step and they ascend."""
    if (places.row == NO_ROW).any():
        return None
    row = _rank(places.row)
    order = np.argsort(row, kind="stable")
    steps, rows = places.step[order], row[order]
    rising = np.where(np.diff(rows) == 0, np.diff(steps) == 0, np.diff(steps) > 0)
    return row if rising.all() and places.step.min() >= 0 and _once(row, series) else None


def _rows_by_step(places: Places, series: Ints) -> Ints | None:
    if places.step.min() < 0:
        return None
    row = _rank(places.step)
    return row if _once(row, series) else None


def _rows_by_time(places: Places, series: Ints, values: Ints) -> tuple[Ints, Ints]:
    """A row for each step and repetition of it, ordered by the time of its first point."""
    occurrence = _occurrence(places.step, series, places.time, places.row, values)
    group = _rank(places.step, occurrence)
    first = _earliest(places.time, group)
    row = _rank(first, places.step, occurrence)
    axis = np.zeros(int(row.max()) + 1, np.int64)
    axis[row] = places.step
    return row, axis


def _rank(*columns: Ints) -> Ints:
    """Dense rank of each row in the order of the columns, the first one first."""
    order = np.lexsort(columns[::-1])
    new = np.zeros(len(order), np.bool_)
    for column in columns:
        new[1:] |= np.diff(column[order]) != 0
    rank = np.empty(len(order), np.int64)
    rank[order] = np.cumsum(new)
    return rank


def _occurrence(first: Ints, second: Ints, *then: Ints) -> Ints:
    """How many rows with equal `first` and `second` come before, in the order of `then`."""
    order = np.lexsort((*then[::-1], second, first))
    new = np.ones(len(order), np.bool_)
    new[1:] = (np.diff(first[order]) != 0) | (np.diff(second[order]) != 0)
    start = np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))
    occurrence = np.empty(len(order), np.int64)
    occurrence[order] = np.arange(len(order)) - start
    return occurrence


def _once(row: Ints, series: Ints) -> bool:
    pairs = np.stack([row, series], axis=1)
    return len(np.unique(pairs, axis=0)) == len(pairs)


def _earliest(time: Ints, row: Ints) -> Ints:
    first: npt.NDArray[np.int64] = np.full(int(row.max()) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, row, time)
    return np.asarray(first[row])
