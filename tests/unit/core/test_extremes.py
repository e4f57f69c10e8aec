"""Series are reduced to few points: extremes and ends stay, whatever comes in whatever parts."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trackbridge.extremes import STEP, VALUE, Points, Series

LISTS = st.lists(st.floats(width=32), max_size=400)


def added(values: list[float], part: int) -> Series:
    """A series that came in parts of so many points."""
    series = Series(5)
    for start in range(0, len(values), part):
        some = np.array(values[start : start + part], np.float64)
        steps = np.arange(start, start + len(some), dtype=np.float64)
        series.add(np.vstack([steps, steps * 1000, some]))
    return series


@given(LISTS, st.integers(1, 150))
def test_least_greatest_first_and_last_of_each_series_are_kept(
    values: list[float], part: int
) -> None:
    series = added(values, part)
    kept = series.kept()
    finite = np.array([value for value in values if np.isfinite(value)])
    steps = np.array([step for step, value in enumerate(values) if np.isfinite(value)])
    assert series.count == len(values)
    assert series.nan == sum(np.isnan(values))
    assert series.infinite == sum(np.isinf(values))
    assert np.all(np.diff(kept[STEP]) > 0)
    assert np.array_equal(np.array(values, np.float64)[kept[STEP].astype(int)], kept[VALUE])
    if len(finite):
        assert kept[VALUE].min() == finite.min() and kept[VALUE].max() == finite.max()
        assert (kept[STEP][0], kept[STEP][-1]) == (steps[0], steps[-1])
        assert series.last == finite[-1]
    else:
        assert not kept.size and series.last is None


@given(LISTS, st.integers(1, 150))
def test_short_series_are_whole_and_long_ones_bounded(values: list[float], part: int) -> None:
    series = added(values, part)
    finite = sum(map(np.isfinite, values))
    kept = series.kept().shape[1]
    if finite <= 20:
        assert kept == finite and series.stretches == 0
    elif series.stretches:
        assert kept <= 2 * series.stretches + 2
        assert 5 <= series.stretches <= 11


@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=60, max_size=400),
    st.integers(1, 150),
)
def test_extremes_of_each_stretch_of_neighbours_are_kept(values: list[float], part: int) -> None:
    series = added(values, part)
    kept: Points = series.kept()
    width = series._width
    assert width > 1
    there = {(int(step), value) for step, value in kept[[STEP, VALUE]].T}
    for start in range(0, len(values), width):
        stretch = np.array(values[start : start + width], np.float64)
        assert (start + int(stretch.argmin()), stretch.min()) in there
        assert (start + int(stretch.argmax()), stretch.max()) in there
